"""What learners write by mistake in the exercises of notebook 03 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import grad as grad_under_another_name
from torch.func import vjp as vjp_under_another_name

from lessons.checks.gru import CHECKS
from tests.checks.exercises import answer_tests, sizes_that_never_vary


def sigmoid_by_exp(a):
    return 1 / (1 + torch.exp(-a))


def step(
    order="rzn",
    keep=lambda z, n, h: (1 - z) * n + z * h,
    candidate=lambda r, x_n, u_h, c_n: x_n + r * (u_h + c_n),
    through=torch.tanh,
    reset_first=False,
    gate=torch.sigmoid,
    result=lambda h: h,
    state=lambda h: h,
    old=lambda h: h,
):
    """The GRU's step with one slip."""

    def gru_step(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
        given, blocks, h = h, {}, state(h)
        for name, *parts in zip(
            order, weight_ih.chunk(3), weight_hh.chunk(3), bias_ih.chunk(3), bias_hh.chunk(3), strict=True
        ):
            blocks[name] = parts
        pre = {k: (x @ w.T + b, h @ u.T, c) for k, (w, u, b, c) in blocks.items()}
        r, z = (gate(sum(pre[name])) for name in "rz")
        x_n, u_h, c_n = pre["n"]
        if reset_first:
            n = through(x_n + (r * h) @ blocks["n"][1].T + c_n)
        else:
            n = through(candidate(r, x_n, u_h, c_n))
        return result(keep(z, n, old(given)))

    return gru_step


def without_gradients(x, h, *weights):
    with torch.no_grad():
        return step()(x, h, *weights)


def in_place_on_h(x, h, *weights):
    h.data.copy_(step()(x, h, *weights))
    return h * 1


def in_place_on_bias(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    bias_ih.data.mul_(1.0).add_(bias_hh)
    return step()(x, h, weight_ih, weight_hh, bias_ih - bias_hh, bias_hh)


def into_a_float32_buffer(x, h, *weights):
    new = torch.zeros(h.shape)
    for i in range(len(x)):
        new[i] = step()(x[i : i + 1], h[i : i + 1], *weights)[0]
    return new


def numpy_step(x, h, *weights):
    return torch.from_numpy(step()(x, h, *weights).detach().numpy())


def with_scores_of_the_first_clip(x, h, *weights):
    """The state of clip 0 for all clips."""
    return step()(x, h[:1].expand_as(h), *weights)


def reset_before_with_gated_bias(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """U (r ⊙ h) + r ⊙ c: the product on the wrong side, the bias on the right one."""
    x_r, x_z, x_n = (x @ weight_ih.T + bias_ih).chunk(3, dim=-1)
    (u_r, u_z, u_n), (c_r, c_z, c_n) = weight_hh.chunk(3), bias_hh.chunk(3)
    r, z = torch.sigmoid(x_r + h @ u_r.T + c_r), torch.sigmoid(x_z + h @ u_z.T + c_z)
    n = torch.tanh(x_n + (r * h) @ u_n.T + r * c_n)
    return (1 - z) * n + z * h


# Right answers in other styles.


def step_by_clips(x, h, w, u, b, c):
    rows = []
    for x_i, h_i in zip(x, h, strict=True):
        a_r, a_z, a_n = (w @ x_i + b).chunk(3)
        m_r, m_z, m_n = (u @ h_i + c).chunk(3)
        z = (a_z + m_z).sigmoid()
        n = (a_n + (a_r + m_r).sigmoid() * m_n).tanh()
        rows.append(z * h_i + (1 - z) * n)
    return torch.stack(rows)


def step_by_slices(x, h, w, u, b, c):
    D = h.shape[1]
    a, m = F.linear(x, w, b), F.linear(h, u, c)
    gates = torch.sigmoid(a[:, : 2 * D] + m[:, : 2 * D])
    n = torch.tanh(a[:, 2 * D :] + gates[:, :D] * m[:, 2 * D :])
    return n + gates[:, D:] * (h - n)


def step_by_einsum(x, h, w, u, b, c):
    w, u = (t.reshape(3, h.shape[1], -1) for t in (w, u))
    a = torch.einsum("bf,kdf->kbd", x, w) + b.view(3, 1, -1)
    m = torch.einsum("be,kde->kbd", h, u) + c.view(3, 1, -1)
    r, z = torch.sigmoid(a[:2] + m[:2])
    return torch.lerp(torch.tanh(a[2] + r * m[2]), h, z)


def step_by_torch(x, h, *weights):
    return torch.gru_cell(x, h, *weights)


def step_by_sigmoids_only(x, h, w, u, b, c):
    a, m = torch.addmm(b, x, w.t()).split(h.size(1), 1), torch.addmm(c, h, u.t()).split(h.size(1), 1)
    r, z = F.sigmoid(a[0] + m[0]), F.sigmoid(a[1] + m[1])
    n = 2 * F.sigmoid(2 * (a[2] + r * m[2])) - 1
    return (1 - z).mul(n).add(z.mul(h))


# One step of backpropagation through time.


def backward(
    d_z=lambda d, h, n, z: d * (h - n) * z * (1 - z),
    d_n=lambda d, n, z: d * (1 - z) * (1 - n**2),
    d_m=lambda d_n, r: d_n * r,
    d_r=lambda d_n, m, r: d_n * m * r * (1 - r),
    direct=lambda d, z: z * d,
    inner=lambda h_n, u_n: h_n,
    order=(0, 1, 2),
    product=lambda d, u: d @ u,
    result=lambda d: d,
    parts=(1, 1, 1),
    prepare=lambda delta, h: (delta, h),
):
    """The hand-written step with one slip."""

    def gru_step_backward(delta, x, h, weight_ih, weight_hh, bias_ih, bias_hh):
        delta, h = prepare(delta, h)
        a, m = (x @ weight_ih.T + bias_ih).chunk(3, -1), (h @ weight_hh.T + bias_hh).chunk(3, -1)
        r, z = torch.sigmoid(a[0] + m[0]), torch.sigmoid(a[1] + m[1])
        n = torch.tanh(a[2] + r * m[2])
        at_n = d_n(delta, n, z)
        at = d_r(at_n, inner(m[2], m[2] - bias_hh.chunk(3)[2]), r), d_z(delta, h, n, z), d_m(at_n, r)
        blocks = [weight_hh.chunk(3)[k] for k in order]
        back = sum(p * product(d, u) for p, d, u in zip(parts, at, blocks, strict=True))
        return result(direct(delta, z) + back)

    return gru_step_backward


def backward_by_autograd(delta, x, h, *weights):
    h = h.detach().requires_grad_()
    return torch.autograd.grad(step()(x, h, *weights), h, delta)[0]


def backward_by_vjp(delta, x, h, *weights):
    return torch.func.vjp(lambda h: step()(x, h, *weights), h)[1](delta)[0]


def backward_in_place(delta, *others):
    new = backward()(delta, *others)
    delta.copy_(new)
    return new


def backward_at_x(delta, x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    a, m = (x @ weight_ih.T + bias_ih).chunk(3, -1), (h @ weight_hh.T + bias_hh).chunk(3, -1)
    r, z = torch.sigmoid(a[0] + m[0]), torch.sigmoid(a[1] + m[1])
    n = torch.tanh(a[2] + r * m[2])
    d_n = delta * (1 - z) * (1 - n**2)
    return torch.cat([d_n * m[2] * r * (1 - r), delta * (h - n) * z * (1 - z), d_n], -1) @ weight_ih


def backward_by_clips(delta, x, h, w, u, b, c):
    rows = []
    for d, x_i, h_i in zip(delta, x, h, strict=True):
        (a_r, a_z, a_n), (m_r, m_z, m_n) = (w @ x_i + b).chunk(3), (u @ h_i + c).chunk(3)
        r, z = torch.sigmoid(a_r + m_r), torch.sigmoid(a_z + m_z)
        n = torch.tanh(a_n + r * m_n)
        u_r, u_z, u_n = u.chunk(3)
        d_n = (1 - n * n) * (1 - z) * d
        d_r = r * (1 - r) * m_n * d_n
        rows.append(d * z + u_r.T @ d_r + u_z.T @ (d * (h_i - n) * z * (1 - z)) + u_n.T @ (r * d_n))
    return torch.stack(rows)


def backward_by_jacobians(delta, x, h, w, u, b, c):
    D = h.shape[1]
    out = torch.empty_like(h)
    for i in range(len(h)):
        a, m = w @ x[i] + b, u @ h[i] + c
        r, z = torch.sigmoid(a[:D] + m[:D]), torch.sigmoid(a[D : 2 * D] + m[D : 2 * D])
        n = torch.tanh(a[2 * D :] + r * m[2 * D :])
        dr = (r * (1 - r))[:, None] * u[:D]  # (D, D): ∂r / ∂h
        dz = (z * (1 - z))[:, None] * u[D : 2 * D]
        dn = (1 - n**2)[:, None] * (r[:, None] * u[2 * D :] + m[2 * D :, None] * dr)
        J = torch.diag(z) + (h[i] - n)[:, None] * dz + (1 - z)[:, None] * dn
        out[i] = J.T @ delta[i]
    return out


def backward_by_einsum(delta, x, h, w, u, b, c):
    u3 = u.view(3, h.shape[1], h.shape[1])
    a, m = F.linear(x, w, b).unflatten(1, (3, -1)), F.linear(h, u, c).unflatten(1, (3, -1))
    r, z = torch.sigmoid(a[:, 0] + m[:, 0]), torch.sigmoid(a[:, 1] + m[:, 1])
    n = torch.tanh(a[:, 2] + r * m[:, 2])
    d_n = (delta - z * delta) * (1 - n.square())
    d = torch.stack([d_n * m[:, 2] * (r - r**2), delta * (h - n) * (z - z**2), d_n * r])
    return torch.einsum("kbd,kde->be", d, u3) + delta * z


def backward_without_recording(delta, *others):
    with torch.no_grad():
        return backward()(delta, *others)


# Padding.


def reverse(x, lengths):
    turned = x.clone()
    for clip, length in enumerate(lengths.tolist()):
        turned[:length, clip] = x[:length, clip].flip(0)
    return turned


def in_place(x, lengths):
    with torch.no_grad():
        x.copy_(reverse(x, lengths))
    return x.clone()


def without_last(x, lengths):
    turned = x.clone()
    for clip, length in enumerate(lengths.tolist()):
        turned[: length - 1, clip] = x[: length - 1, clip].flip(0)
    return turned


def zero_padding(x, lengths):
    frame = torch.arange(len(x))[:, None, None]
    return reverse(x, lengths) * (frame < lengths[None, :, None])


def batch_first(x, lengths):
    turned = x.clone()
    for clip in range(len(x)):
        length = int(lengths[min(clip, len(lengths) - 1)])
        turned[clip, :length] = x[clip, :length].flip(0)
    return turned


def fetch_clamped(x, lengths):
    source = (lengths - 1 - torch.arange(len(x))[:, None]).clamp(min=0)  # (T, B)
    return x.gather(0, source[..., None].expand_as(x))


def padding_first(x, lengths):
    turned = torch.zeros_like(x)
    for clip, length in enumerate(lengths.tolist()):
        turned[len(x) - length :, clip] = x[:length, clip].flip(0)
    return turned


def by_sorted_lengths(x, lengths):
    return reverse(x, lengths.sort(descending=True).values)


def reverse_by_index(x, lengths):
    t = torch.arange(x.shape[0]).unsqueeze(1)
    index = torch.where(t < lengths, lengths - 1 - t, t)
    return x[index, torch.arange(x.shape[1])]


def reverse_by_where(x, lengths):
    valid = torch.arange(len(x))[:, None] < lengths
    rolled = torch.stack([c.flip(0).roll(int(n), 0) for c, n in zip(x.unbind(1), lengths, strict=True)], 1)
    return torch.where(valid[..., None], rolled, x)


def reverse_by_lists(x, lengths):
    clips = []
    for b in range(x.shape[1]):
        n = int(lengths[b])
        order = [*range(n - 1, -1, -1), *range(n, len(x))]
        clips.append(x[order, b])
    return torch.stack(clips, 1)


def reverse_by_take_along(x, lengths):
    t = np.arange(len(x))[:, None]
    n = lengths.numpy()
    index = torch.from_numpy(np.where(t < n, n - 1 - t, t))
    return torch.take_along_dim(x, index.unsqueeze(-1), dim=0)


def step_by_one_product_for_the_gates(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """The sigmoid by tanh rounds to exactly 0 and 1, so that no gradient is left in a closed gate."""
    size = h.shape[1]
    joined = torch.cat([x, h], 1) @ torch.cat([weight_ih, weight_hh], 1)[: 2 * size].T
    r, z = (0.5 + 0.5 * torch.tanh((joined + (bias_ih + bias_hh)[: 2 * size]) / 2)).split(size, 1)
    inner = F.linear(h, weight_hh[2 * size :], bias_hh[2 * size :])
    n = torch.addcmul(F.linear(x, weight_ih[2 * size :], bias_ih[2 * size :]), r, inner).tanh()
    return torch.lerp(n, h, z)


def interleaved(x, h, *weights):
    return step()(x, h, *(torch.cat([w[k::3] for k in range(3)]) for w in weights))


def one_z_per_clip(z, n, h):
    z = z.mean(1, keepdim=True)
    return (1 - z) * n + z * h


def vjp_imported_before(delta, x, h, *weights):
    return vjp_under_another_name(lambda h: step()(x, h, *weights), h)[1](delta)[0]


def swap_ends(x, lengths):
    new = x.clone()
    for b, last in enumerate((lengths - 1).tolist()):
        new[0, b], new[last, b] = x[last, b], x[0, b]
    return new


def wrap_around(x, lengths):
    t = torch.arange(len(x))[:, None]
    return x.gather(0, ((lengths - 1 - t) % len(x))[..., None].expand_as(x))


def reverse_by_permutation(x, lengths):
    t = torch.arange(len(x))[:, None]
    source = F.one_hot(torch.where(t < lengths, lengths - 1 - t, t), len(x)).to(x.dtype)  # (T, B, T)
    return torch.einsum("tbs,sbf->tbf", source, x)


def backward_by_jvp(delta, x, h, *weights):
    rows = torch.eye(h.shape[1], dtype=h.dtype)
    columns = [torch.func.jvp(lambda h: step()(x, h, *weights), (h,), (row.expand_as(h),))[1] for row in rows]
    return torch.stack([(column * delta).sum(1) for column in columns], 1)


def backward_by_imported_grad(delta, x, h, *weights):
    with torch.inference_mode(False), torch.enable_grad():
        delta, x, h, *weights = (t.clone() for t in (delta, x, h, *weights))
        return grad_under_another_name(step()(x, h.requires_grad_(), *weights), h, delta)[0]


def backward_reset_before(delta, x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    a, m = (x @ weight_ih.T + bias_ih).chunk(3, 1), (h @ weight_hh.T + bias_hh).chunk(3, 1)
    r, z = torch.sigmoid(a[0] + m[0]), torch.sigmoid(a[1] + m[1])
    n = torch.tanh(a[2] + r * m[2])
    u_r, u_z, u_n = weight_hh.chunk(3)
    d_n = delta * (1 - z) * (1 - n * n)
    gates = (d_n * m[2] * r * (1 - r)) @ u_r + (delta * (h - n) * z * (1 - z)) @ u_z
    return delta * z + gates + (d_n @ u_n) * r


WRONG = {
    "gru_step": [
        ("hard sigmoid", step(gate=F.hardsigmoid), "is each gate the logistic sigmoid"),
        ("z clamped", step(keep=lambda z, n, h: n + z.clamp(1e-4, 1 - 1e-4) * (h - n)), "z is 1 here"),
        ("interleaved blocks", interleaved, "which block of rows is z"),
        ("biases exchanged", lambda x, h, w, u, b, c: step()(x, h, w, u, c, b), "z and r are 0 here"),
        ("one z per clip", step(keep=one_z_per_clip), "z is between 0 and 1|Only U_r and U_z|All terms"),
        ("Keras's order z, r, n", step(order="zrn"), "which block of rows is z"),
        ("order n first", step(order="nrz"), "which block of rows is z"),
        ("z and 1 - z exchanged", step(keep=lambda z, n, h: z * n + (1 - z) * h), "does z multiply"),
        ("reset before the product", step(reset_first=True), "that r multiplies does bias_hh stand"),
        ("reset before, bias within", reset_before_with_gated_bias, "h itself, or the product"),
        (
            "u_n outside the bracket",
            step(candidate=lambda r, x_n, u_h, c_n: x_n + r * u_h + c_n),
            "that r multiplies does bias_hh stand",
        ),
        (
            "r on everything",
            step(candidate=lambda r, x_n, u_h, c_n: r * (x_n + u_h + c_n)),
            "input's part",
        ),
        (
            "1 - r for r",
            step(candidate=lambda r, x_n, u_h, c_n: x_n + (1 - r) * (u_h + c_n)),
            "What does r = 0 leave",
        ),
        (
            "r on the input's part",
            step(candidate=lambda r, x_n, u_h, c_n: r * x_n + u_h + c_n),
            "Does r touch that part",
        ),
        ("no reset", step(candidate=lambda r, x_n, u_h, c_n: x_n + u_h + c_n), "does bias_hh stand"),
        ("sigmoid on the candidate", step(through=torch.sigmoid), "Through which function"),
        ("no tanh", step(through=lambda n: n), "Through which function"),
        ("tanh in the gates", step(gate=torch.tanh), "z is 1 here|z and r are 0 here"),
        ("keeps and adds", step(keep=lambda z, n, h: n + z * h), "z is 1 here"),
        ("no old state", step(keep=lambda z, n, h: (1 - z) * n), "z is 1 here"),
        ("only the candidate", step(keep=lambda z, n, h: n), "z is 1 here"),
        ("u_n left out", step(candidate=lambda r, x_n, u_h, c_n: x_n + r * u_h), "r is 1 here"),
        ("gates do not read h", step(state=torch.zeros_like), "r is 1 here"),
        ("h detached everywhere", step(state=torch.detach, old=torch.detach), "no gradient reaches h"),
        ("h detached in place", lambda x, h, *w: step()(x, h.detach_(), *w), "changed h.*no longer requires"),
        ("h detached in the gates", step(state=torch.detach), "the gradient at h is off|no gradient"),
        ("h detached in z ⊙ h", step(old=torch.detach), "no gradient reaches h|gradient at h is off"),
        ("no_grad", without_gradients, "no gradient reaches"),
        ("numpy", numpy_step, "no gradient reaches"),
        (".data of a weight", lambda x, h, w, *o: step()(x, h, w.data, *o), "at weight_ih|reaches weight_ih"),
        ("h overwritten", in_place_on_h, "changed h, which belongs to its caller"),
        ("bias overwritten", in_place_on_bias, "changed bias_ih"),
        ("float32 inside", lambda *a: step()(*(t.float() for t in a)).double(), "right formula, wrong dtype"),
        ("a float32 buffer", into_a_float32_buffer, "right formula, wrong dtype"),
        ("float32 result", step(result=lambda h: h.float()), "wrong dtype|Keep their dtype"),
        ("batch 1 squeezed", step(result=torch.squeeze), "gave shape"),
        ("state of clip 0 for all", with_scores_of_the_first_clip, "z is 1 here|All terms count"),
        ("exp overflows", step(gate=sigmoid_by_exp), "exp overflows, torch.sigmoid"),
        ("a tuple", step(result=lambda h: (h,)), "expected a tensor"),
        ("the state twice", step(result=lambda h: (h, h)), "expected a tensor"),
        ("mean over the batch", step(result=lambda h: h.mean(0)), "gave shape"),
        ("transposed", step(result=lambda h: h.T), "gave shape"),
        ("NaN", step(result=lambda h: h * float("nan")), "NaN"),
        ("a list of lists", step(result=lambda h: h.tolist()), "expected a tensor"),
        ("no return", lambda *a: None, "gave None"),
        ("matrices not transposed", lambda x, h, w, u, b, c: x @ w + h @ u, "stopped with RuntimeError"),
    ],
    "gru_step_backward": [
        ("no direct path", backward(direct=lambda d, z: 0), "the path straight from h"),
        ("δ unchanged on the direct path", backward(direct=lambda d, z: d), "z is 0 and r is 1"),
        ("1 - z on the direct path", backward(direct=lambda d, z: (1 - z) * d), "gradient of a copy"),
        ("update gate left out", backward(parts=(1, 0, 1)), "missing is the path through the update gate"),
        ("reset gate left out", backward(parts=(0, 1, 1)), "missing is the path through the reset gate"),
        ("candidate left out", backward(parts=(1, 1, 0)), "missing is the path through U_n h"),
        (
            "sign of the update gate",
            backward(d_z=lambda d, h, n, z: d * (n - h) * z * (1 - z)),
            "sign of one term.*update gate",
        ),
        ("sign of the reset gate", backward(parts=(-1, 1, 1)), "sign of one term.*reset gate"),
        ("candidate twice", backward(parts=(1, 1, 2)), "there twice.*U_n h"),
        ("no sigmoid's slope in z", backward(d_z=lambda d, h, n, z: d * (h - n)), "its pre-activation does"),
        ("no sigmoid's slope in r", backward(d_r=lambda d_n, m, r: d_n * m), "z is 0|r is a constant|reset"),
        ("z for z (1 - z)", backward(d_z=lambda d, h, n, z: d * (h - n) * z), "its pre-activation does"),
        ("no slope of tanh", backward(d_n=lambda d, n, z: d * (1 - z)), "derivative of tanh"),
        ("1 - n for the slope", backward(d_n=lambda d, n, z: d * (1 - z) * (1 - n)), "derivative of tanh"),
        ("z for 1 - z at n", backward(d_n=lambda d, n, z: d * z * (1 - n**2)), "gradient of a copy"),
        ("no 1 - z at n", backward(d_n=lambda d, n, z: d * (1 - n**2)), "gradient of a copy"),
        ("r forgotten before U_n", backward(d_m=lambda d_n, r: d_n), "stands r: the gradient passes it"),
        ("u_n forgotten in d_r", backward(inner=lambda m, without: without), "through the reset gate alone"),
        ("h for n in d_z", backward(d_z=lambda d, h, n, z: d * h * z * (1 - z)), "through the update gate"),
        ("U not transposed", backward(product=lambda d, u: d @ u.T), "matrix is transposed"),
        ("r and z exchanged in U", backward(order=(1, 0, 2)), "update gate"),
        ("n's block first", backward(order=(2, 0, 1)), "z is 0 and r is 1 here"),
        ("autograd", backward_by_autograd, "asks autograd"),
        ("torch.func.vjp", backward_by_vjp, "asks autograd"),
        ("torch.func.jvp", backward_by_jvp, "asks autograd"),
        ("vjp imported before", vjp_imported_before, "asks autograd"),
        ("grad imported before, inference mode off", backward_by_imported_grad, "asks autograd"),
        ("reset before the product", backward_reset_before, "does the gradient pass first"),
        ("gradient at x", backward_at_x, "gave shape"),
        ("δ itself", lambda delta, *a: delta, "z is 0 and r is 1"),
        ("δ overwritten", backward_in_place, "changed delta"),
        ("h overwritten", backward(prepare=lambda d, h: (d, h.mul_(2).div_(3))), "changed h"),
        ("batch 1 squeezed", backward(result=torch.squeeze), "gave shape"),
        ("mean over the batch", backward(result=lambda d: d.mean(0, keepdim=True)), "gave shape"),
        ("divided by the batch", backward(result=lambda d: d / len(d)), "gradient of a copy"),
        ("clipped", backward(result=lambda d: d.clamp(-5, 5)), "δ is large here"),
        ("normalized", backward(result=lambda d: d / d.norm()), "gradient of a copy"),
        (
            "float32 inside",
            lambda *a: backward()(*(t.float() for t in a)).double(),
            "right formula, wrong dtype",
        ),
        ("float32 result", backward(result=lambda d: d.float()), "wrong dtype|Keep their dtype"),
        ("a tuple", backward(result=lambda d: (d, d)), "expected a tensor"),
        ("NaN", backward(result=lambda d: d * float("nan")), "NaN"),
        ("no return", lambda *a: None, "gave None"),
    ],
    "reverse_padded": [
        ("x itself for one frame", lambda x, n: x if len(x) == 1 else reverse(x, n), "returned x itself"),
        ("first and last exchanged", swap_ends, "One clip without padding"),
        ("padding wraps around", wrap_around, "padding stays at the end"),
        ("lengths of the mirrored batch", lambda x, n: reverse(x, n.flip(0)), "own length"),
        ("reverses the padding, too", lambda x, lengths: x.flip(0), "padding stays at the end"),
        ("all by the longest", lambda x, n: reverse(x, n.max().expand(len(n))), "own length"),
        ("all by the first", lambda x, n: reverse(x, n[:1].expand(len(n))), "own length"),
        ("sorted lengths", by_sorted_lengths, "own length"),
        ("one frame short", without_last, "One clip without padding"),
        ("padding set to 0", zero_padding, "padding stays at the end, as it was"),
        ("reverses the batch", lambda x, n: reverse(x, n).flip(1), "Each clip keeps its own frames"),
        ("reverses the features", lambda x, n: reverse(x, n).flip(2), "padding stays at the end|own frames"),
        ("batch first", batch_first, "stopped with|One clip without padding|padding stays|own frames"),
        ("unchanged", lambda x, n: x.clone(), "One clip without padding"),
        ("shifted", lambda x, n: reverse(x, n).roll(1, 0), "One clip without padding"),
        ("changes x", in_place, "changed x"),
        ("changes lengths", lambda x, n: (reverse(x, n), n.sub_(1))[0], "changed lengths"),
        ("detached", lambda x, n: reverse(x.detach(), n), "no gradient reaches x"),
        ("detached where reversed", lambda x, n: reverse(x.detach(), n) + x - x.detach(), "gradient at x"),
        ("float32", lambda x, n: reverse(x.float(), n).double(), "wrong dtype|values are wrong"),
        ("batch 1 squeezed", lambda x, n: reverse(x, n).squeeze(1), "gave shape"),
        ("cut to the longest", lambda x, n: reverse(x, n)[: n.max()], "gave shape"),
        ("padding fetched from frame 0", fetch_clamped, "padding stays at the end, as it was"),
        ("padding to the front", padding_first, "padding stays at the end"),
        ("as a list", lambda x, n: list(reverse(x, n)), "expected a tensor"),
        ("NaN", lambda x, n: reverse(x, n) / 0 * 0, "NaN"),
        ("no return", lambda x, n: None, "gave None"),
    ],
}

RIGHT = {
    "gru_step": [
        step(),
        step_by_clips,
        step_by_slices,
        step_by_einsum,
        step_by_torch,
        step_by_sigmoids_only,
        step_by_one_product_for_the_gates,
    ],
    "gru_step_backward": [
        backward(),
        backward_by_clips,
        backward_by_jacobians,
        backward_by_einsum,
        backward_without_recording,
    ],
    "reverse_padded": [
        reverse,
        reverse_by_index,
        reverse_by_where,
        reverse_by_lists,
        reverse_by_take_along,
        reverse_by_permutation,
    ],
}


TestAnswers = answer_tests("03", WRONG, RIGHT)


@pytest.mark.parametrize("exercise", CHECKS)
def test_every_size_varies(exercise):
    assert sizes_that_never_vary(CHECKS[exercise]) == []
