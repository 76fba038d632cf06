# make lab        make the environment and open the course in JupyterLab
# make test       unit tests and every notebook, in parallel (ONLY=04: one notebook's; DEVICE=cuda: on a GPU)
# make test-machines  every notebook again, computing like other machines (MACHINES="avx2 threads", ONLY=04)
# make browser    run the notebooks in JupyterLab in a headless Chromium and move their sliders (ONLY=02), then use the
#                 book's live page (ONLY=live: it alone; VIDEOS=folder: it reads the videos of that mouth set, too)
# make bench      every piece of ours timed beside torch's own
# make gpu        the tests, the benchmark and two trainings on a GPU, in seven minutes (DRY=1: on any machine)
# make notebooks  run the notebooks and write them, and docs/ from them (ONLY=02: those that begin with 02)
# make site       the course as a book, in site/_build/html, from the committed notebooks (needs node for MathJax)
# make pdf        the book as one PDF, from site/_build/html (needs a Chromium)
# make lint       ruff, spelling (codespell), and the words that we do not use (tools/words.py)
# make clean      throw the environment away

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
ONLY ?=
VIDEOS ?=
MACHINES ?=
DEVICE ?= cpu
VENV = .venv
ifeq ($(OS),Windows_NT)
PY = $(VENV)/Scripts/python
else
PY = $(VENV)/bin/python
endif

# Small layers are fastest on one thread, and every test has a core of its own.
export OMP_NUM_THREADS = 1

.PHONY: lab test test-machines browser bench gpu notebooks site pdf lint clean
.DELETE_ON_ERROR:

# The root is this folder, so that the notebooks' links to docs/ open. In a container you are often root, and
# JupyterLab starts for root only when told so.
lab: $(VENV)/.ok
	$(PY) -m jupyterlab --ServerApp.root_dir=. $(if $(filter 0,$(shell id -u)),--allow-root) \
		notebooks/00_start_here.ipynb

test: $(VENV)/.ok
	$(PY) -m tools.tests --only "$(ONLY)" --device $(DEVICE)

test-machines: $(VENV)/.ok
	$(PY) -m tools.tests --only "$(ONLY)" --machines $(MACHINES)

browser: $(VENV)/.ok $(if $(filter-out live,$(ONLY)),,site)
	$(if $(filter live,$(ONLY)),,$(PY) -m tools.browser $(ONLY))
	$(if $(filter-out live,$(ONLY)),,$(PY) -m tools.live_check $(VIDEOS))

bench: $(VENV)/.ok
	$(PY) -m lessons bench

# With the Python that has torch for CUDA, which may be another than the environment's: make gpu PYTHON=python3
gpu:
	PYTHONPATH=. $(PYTHON) tools/gpu.py $(if $(DRY),--dry)

notebooks: $(VENV)/.ok
	$(PY) -m tools.notebooks build $(ONLY)
	$(PY) -m tools.pages

site: $(VENV)/.site site/_build/node/.ok
	$(PY) -m tools.live
	$(PY) -m tools.site

pdf: site
	$(PY) -m tools.site_pdf

lint: $(VENV)/.ok
	$(PY) -m ruff check . && $(PY) -m ruff format --check .
	$(PY) -m codespell_lib . && $(PY) -m tools.words

clean:
	rm -rf $(VENV)

$(VENV)/.ok: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q -c $(CONSTRAINTS) -e ".[dev]"
	touch $@

$(VENV)/.site: $(VENV)/.ok
	$(PY) -m pip install -q -c $(CONSTRAINTS) -e ".[site]"
	touch $@

site/_build/node/.ok: site/package.json
	mkdir -p $(@D) && cp site/package.json $(@D)
	npm install --prefix $(@D) --no-audit --no-fund --prefer-offline --silent
	touch $@
