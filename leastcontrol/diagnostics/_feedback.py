"""Diagnostics of direct feedback: its subspace, strength, stability and targets.

All functions are for a `Feedforward` network with direct feedback Q_i to its layers. They are
evaluated at the given voltages of each sample in a batch, either those of the forward pass or those
under control. Learning does not use them.

The reference updates have the form and the factor of the updates of deep feedback control, for each
layer −2⟨D_i r_{i−1}ᵀ⟩, which is a descent direction.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..controllers import output_jacobian
from ..equilibrium import Dynamics
from ..systems import Feedforward, activation_difference, identity

Layers = tuple[Float[Array, "..."], ...]
Errors = Float[Array, "batch outputs"]


def jacobians(network: Feedforward, soma: Layers) -> Float[Array, "batch outputs neurons"]:
    """Computes J = ∂y/∂v of each sample, with the voltages of all layers side by side."""
    blocks = jax.vmap(lambda voltages: output_jacobian(network, voltages))(soma)
    return jnp.concatenate(blocks, axis=2)


def feedback_condition(
    network: Feedforward, weights: Layers, soma: Layers
) -> Float[Array, " batch"]:
    """Computes the fraction of Q in the row space of each sample's J, ‖P Q‖_F / ‖Q‖_F.

        P = Jᵀ(JJᵀ)⁻¹J

    It is 1 if the columns of Q lie in the row space, which makes the control the least control
    (arXiv 2106.07887, condition 2). Unlike `column_space_condition` it includes the output neurons.
    J_L, and initially Q_L, are the identity, so the fraction of a random Q exceeds the √(m/N) of m
    random columns in N dimensions.
    """
    feedback = jnp.concatenate(weights)

    def one(jacobian: Array) -> Array:
        inner = jnp.linalg.solve(jacobian @ jacobian.T, jacobian @ feedback)
        return jnp.linalg.norm(jacobian.T @ inner) / jnp.linalg.norm(feedback)

    return jax.vmap(one)(jacobians(network, soma))


def feedback_ratios(basal: Layers, apical: Layers, biases: Layers) -> tuple[Float[Array, ""], ...]:
    """Computes the mean of ‖v_fb‖ / ‖W r‖ for each layer, of feedback to feedforward input.

    **Arguments:** `basal` and `apical` voltages of a batch, and the `biases`, which are subtracted.
    """
    return tuple(
        jnp.mean(jnp.linalg.norm(fb, axis=1) / jnp.linalg.norm(ff - bias[None], axis=1))
        for ff, fb, bias in zip(basal, apical, biases, strict=True)
    )


def feedback_movement(weights: Layers, first: Layers) -> Float[Array, ""]:
    """Computes ‖Q − Q₀‖ / ‖Q₀‖ for all layers together."""
    now, before = jnp.concatenate(weights), jnp.concatenate(first)
    return jnp.linalg.norm(now - before) / jnp.linalg.norm(before)


def error_ratio(first: Errors, last: Errors) -> Float[Array, ""]:
    """Computes ‖e_end‖ / ‖e_0‖ of batch means, the fraction of the error that control leaves."""
    return jnp.mean(jnp.linalg.norm(last, axis=1)) / jnp.mean(jnp.linalg.norm(first, axis=1))


def minimum_norm_update(
    network: Feedforward,
    inputs: Float[Array, "batch inputs"],
    soma: Layers,
    errors: Errors,
    damping: float,
) -> PyTree[Array]:
    """Computes the update whose targets are the damped Gauss–Newton step in the voltages.

        Δv = Jᵀ(JJᵀ + γI)⁻¹ e,   −2⟨(σ(v + Δv) − σ(v)) r_{i−1}ᵀ⟩

    **Arguments:** `network`, `inputs`; `soma`, the free voltages; `errors` e; `damping` γ ≥ 0.
    """

    def change(jacobian: Array, error: Array) -> Array:
        gram = jacobian @ jacobian.T + damping * jnp.eye(error.size, dtype=error.dtype)
        return jacobian.T @ jnp.linalg.solve(gram, error)

    flat = jax.vmap(change)(jacobians(network, soma), errors)
    return _update(network, inputs, soma, _split(network, flat))


def gauss_newton_update(
    network: Feedforward,
    inputs: Float[Array, "batch inputs"],
    soma: Layers,
    errors: Errors,
    damping: float,
) -> PyTree[Array]:
    """Computes minus the batch mean of the damped Gauss–Newton steps in the parameters.

        −J_θᵀ(J_θJ_θᵀ + γI)⁻¹ e,   J_θJ_θᵀ = Σ_i (‖r_{i−1}‖² + 1) J_i J_iᵀ

    **Arguments:** as for `minimum_norm_update`.
    """
    rates = (inputs, *(network.activation(voltages) for voltages in soma[:-1]))
    blocks = jax.vmap(lambda voltages: output_jacobian(network, voltages))(soma)
    gram = damping * jnp.eye(errors.shape[1], dtype=errors.dtype)[None]
    for block, rate in zip(blocks, rates, strict=True):
        size = jnp.sum(rate**2, axis=1) + 1
        gram = gram + size[:, None, None] * (block @ block.swapaxes(1, 2))
    solved = jnp.linalg.solve(gram, errors[:, :, None])[:, :, 0]
    parts = [jnp.einsum("bmn,bm->bn", block, solved) for block in blocks]
    return tuple(
        (-part.T @ rate / len(errors), -jnp.mean(part, axis=0))
        for part, rate in zip(parts, rates, strict=True)
    )


def linearised_control_gradient(
    network: Feedforward,
    inputs: Float[Array, "batch inputs"],
    soma: Layers,
    weights: Layers,
    leak: float,
    control: Errors,
) -> PyTree[Array]:
    """Computes the gradient of the control ½‖Qu‖² at a linearised equilibrium.

        −[uᵀQᵀQ (JQ + αI)⁻¹ J]_i ⊗ r_{i−1}

    where (JQ + αI)u = r − y⁻ with constant r. Deep feedback control descends this objective if the
    columns of Q lie in the row space of J. The gradient is exact for a linear network.

    **Arguments:** `network`, `inputs`; `soma`, the voltages for J and the rates; `weights` Q_i;
    `leak` α; `control` u of each sample.
    """
    feedback = jnp.concatenate(weights)
    square = feedback.T @ feedback

    def one(jacobian: Array, u: Array) -> Array:
        response = jacobian @ feedback + leak * jnp.eye(u.size, dtype=u.dtype)
        return -jacobian.T @ jnp.linalg.solve(response.T, square @ u)

    parts = _split(network, jax.vmap(one)(jacobians(network, soma), control))
    return _outer(network, inputs, soma, parts, 1.0)


def stability_margin(
    network: Feedforward,
    soma: Layers,
    weights: Layers,
    dynamics: Dynamics,
    curvature: Float[Array, "batch outputs outputs"],
) -> Float[np.ndarray, " batch"]:
    """Computes −max Re λ of the linearised controlled dynamics of each sample; stable above 0.

    In the coordinates (v − v_ff, u), for proportional-integral control, in units of the
    controller's time constant, and for short time steps without apical lag or delay, they are

        ⎡ −(I − Ĵ)/τ_v              (I − Ĵ)Q/τ_v             ⎤
        ⎣ H(−J + (k_p/τ_v)J_L°)     −αI − (k_p/τ_v)H J_L Q_L ⎦

    with Ĵ the blocks W_i σ′(v_{i−1}) below the diagonal, J_L° = (0 … 0 J_L) and H = −∂e/∂y.

    **Arguments:** `soma`, the voltages at rest; `weights` Q_i; `dynamics`; `curvature` H.
    """
    sizes = [layer.bias.shape[0] for layer in network.layers]
    neurons, outputs = sum(sizes), sizes[-1]
    feedback = np.asarray(jnp.concatenate(weights), np.float64)
    all_jacobians = np.asarray(jacobians(network, soma), np.float64)
    gain = dynamics.proportional_gain / dynamics.voltage_time_constant
    margins = []
    for index, (jacobian, bend) in enumerate(
        zip(all_jacobians, np.asarray(curvature, np.float64), strict=True)
    ):
        inner = np.eye(neurons)
        row = sizes[0]
        for layer, voltage in zip(network.layers[1:], soma[:-1], strict=True):
            ones = jnp.ones_like(voltage[index])
            _, slope = jax.jvp(network.activation, (voltage[index],), (ones,))
            after, before = layer.weight.shape
            inner[row : row + after, row - before : row] = -np.asarray(layer.weight * slope[None])
            row += after
        proportional = np.zeros((outputs, neurons))
        proportional[:, -outputs:] = gain * np.eye(outputs)
        matrix = np.block(
            [
                [
                    -inner / dynamics.voltage_time_constant,
                    inner @ feedback / dynamics.voltage_time_constant,
                ],
                [
                    bend @ (proportional - jacobian),
                    -dynamics.leak * np.eye(outputs) - gain * bend @ feedback[-outputs:],
                ],
            ]
        )
        margins.append(-np.linalg.eigvals(matrix).real.max())
    return np.asarray(margins)


def quasi_static_margin(
    network: Feedforward,
    soma: Layers,
    weights: Layers,
    leak: float,
    curvature: Float[Array, "batch outputs outputs"],
) -> Float[np.ndarray, " batch"]:
    """Computes −max Re λ of −(H J Q + αI) of each sample, for voltages faster than the controller.

    This is the limit τ_v → 0 of `stability_margin` under integral control. Its matrix is m × m for
    m outputs.
    """
    response = jacobians(network, soma) @ jnp.concatenate(weights)[None]
    matrices = np.asarray(curvature @ response, np.float64)
    return np.linalg.eigvals(matrices).real.min(axis=1) + leak


def _split(network: Feedforward, flat: Float[Array, "batch neurons"]) -> Layers:
    sizes = np.cumsum([layer.bias.shape[0] for layer in network.layers])
    return tuple(jnp.split(flat, sizes[:-1].tolist(), axis=1))


def _update(
    network: Feedforward, inputs: Float[Array, "batch inputs"], soma: Layers, change: Layers
) -> PyTree[Array]:
    last = len(soma) - 1
    parts = tuple(
        activation_difference(network.activation if index < last else identity, voltages, moved)
        for index, (voltages, moved) in enumerate(zip(soma, change, strict=True))
    )
    return _outer(network, inputs, soma, parts, -2.0)


def _outer(
    network: Feedforward,
    inputs: Float[Array, "batch inputs"],
    soma: Layers,
    parts: Layers,
    factor: float,
) -> tuple[Any, ...]:
    """Computes the batch mean of each part times the rates below it, and of the part alone."""
    rates = (inputs, *(network.activation(voltages) for voltages in soma[:-1]))
    scale = factor / len(inputs)
    return tuple(
        (scale * part.T @ rate, scale * jnp.sum(part, axis=0))
        for part, rate in zip(parts, rates, strict=True)
    )
