"""LipNet, from a clip of a mouth to letters: the model, its saliency, and reading as the frames arrive."""
