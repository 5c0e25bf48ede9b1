"""What each method computes, in LaTeX.

x is the input, y its label, L the loss, f the model, K `steps`, alpha `step_size`; Pi projects on the ball of radius
epsilon, and u(g) is the direction of steepest ascent in the norm of the ball.
"""

from __future__ import annotations

_ASCENT = r"\delta_{k+1} = \Pi_\varepsilon\left(\delta_k + \alpha\, u(g_k)\right)"
_PENALTY = (
    r"\mathcal{L}(f(x), y) + \lambda\, %s, \qquad \delta = \operatorname{argmax}_{\|\delta\| \le \varepsilon} %s"
)
_KL = r"\mathrm{KL}\left(f(x) \,\|\, f(x + \delta)\right)"
_BOTH = r"\left[\mathrm{KL}(f(x) \,\|\, f(x + \delta)) + \mathrm{KL}(f(x + \delta) \,\|\, f(x))\right]"
_FAST = r"\mathcal{L}(f(x + \delta), y), \qquad "
_FAST += r"\delta = \Pi_\varepsilon\left(\delta_0 + \alpha\, \operatorname{sign}(g)\right)"
_PGD = r"\mathcal{L}\left(f(x + \delta_{K-1}), y\right), \qquad " + _ASCENT
_FREE = (
    r"\theta \leftarrow \theta - \eta\, \nabla_\theta \mathcal{L}(f(x + \delta), y), \qquad "
    r"\delta \leftarrow \Pi_\varepsilon\left(\delta + \alpha\, u(\nabla_\delta \mathcal{L})\right)"
)
_MART = (
    r"\mathrm{BCE}\left(p(x + \delta), y\right) + \lambda\, \mathrm{KL}\left(p(x) \,\|\, p(x + \delta)\right) "
    r"\left(1 - p_y(x)\right)"
)
_FREELB = r"\frac{1}{K} \sum_{k=0}^{K-1} \mathcal{L}\left(f(x + \delta_k), y\right), \qquad " + _ASCENT

ADVERSARIES = {
    "alum": _PENALTY % (_BOTH, _BOTH),
    "fgm": r"\mathcal{L}(f(x), y) + \mathcal{L}(f(x + r), y), \qquad r = \alpha\, \frac{g}{\|g\|_2}",
    "fgsm": _FAST,
    "free-at": _FREE,
    "freelb": _FREELB,
    "freelb++": _FREELB.replace(r"\Pi_\varepsilon", ""),
    "hotflip": (
        r"\frac{1}{2} \left[\mathcal{L}(f(x), y) + \mathcal{L}(f(x' + r), y)\right], \qquad "
        r"x'_i = \operatorname{argmax}_{c \in N(x_i)} (E_c - E_{x_i})^\top g_i, \quad r = \alpha\, \frac{g}{\|g\|_2}"
    ),
    "infobert": (
        r"\frac{1}{K} \sum_{k=0}^{K-1} \left[\mathcal{L}\left(f(x + \delta_k), y\right) "
        r"+ \beta\, I_{\text{upper}}(X; T) - \gamma\, I_{\text{lower}}(T_{\text{anchors}}; Z)\right]"
    ),
    "mart": _MART,
    "pgd": _PGD,
    "pixel-fast": _FAST,
    "pixel-free": _FREE,
    "pixel-mart": _MART,
    "pixel-pgd": _PGD,
    "pixel-trades": _PENALTY % (_KL, _KL),
    "r-drop": (
        r"\mathcal{L}(f_1(x), y) + \mathcal{L}(f_2(x), y) + \frac{\lambda}{2} "
        r"\left[\mathrm{KL}(f_1(x) \,\|\, f_2(x)) + \mathrm{KL}(f_2(x) \,\|\, f_1(x))\right]"
    ),
    "random-noise": r"\mathcal{L}\left(f(x + \delta), y\right), \qquad \delta \sim U(-\sigma, \sigma)",
    "smart": (
        r"\mathcal{L}(f(x), y) + \lambda \max_{\|\delta\|_\infty \le \varepsilon} D(f(x), f(x + \delta)) "
        r"+ \mu\, D(f(x), f_{\bar\theta}(x)), \qquad \bar\theta \leftarrow \beta \bar\theta + (1 - \beta)\, \theta"
    ),
    "ta-vat": (
        r"\frac{1}{K} \sum_{k=0}^{K-1} \mathcal{L}\left(f(x + \delta_k + \eta_k), y\right), \qquad "
        r"\eta^t_{k+1} = n^t \left(\eta^t_k + \alpha \frac{g^t_k}{\|g^t_k\|}\right)"
    ),
    "trades": _PENALTY % (_KL, _KL),
    "vat": (
        r"\mathcal{L}(f(x), y) + \lambda\, \mathrm{KL}\left(f(x) \,\|\, f(x + r)\right), \qquad "
        r"r = \alpha\, \frac{g}{\|g\|_2}, \quad g = \nabla_\xi \mathrm{KL}\left(f(x) \,\|\, f(x + \xi)\right)"
    ),
    "yopo": (
        r"\frac{1}{K} \sum_{k} \mathcal{L}\left(f(x + \delta_k), y\right), \qquad "
        r"\delta \leftarrow \Pi_\varepsilon\left(\delta + \alpha\, u\left("
        r"\nabla_\delta \left\langle p, f_0(x + \delta) \right\rangle\right)\right), "
        r"\quad p = \nabla_{f_0} \mathcal{L}"
    ),
}

SCORES = {
    "taylor": (
        r"s_i = \sum_{(x, y)} \left\lvert c_i\, \frac{\partial \mathcal{L}(f(x), y)}{\partial c_i} "
        r"\right\rvert_{c = 1}"
    ),
    "adversarial-taylor": (
        r"s_i = \sum_{(x, y)} \left\lvert c_i\, \frac{\partial \mathcal{L}(f(x + \delta_K), y)}{\partial c_i} "
        r"\right\rvert_{c = 1}"
    ),
    "gate": (
        r"s_i = \lvert c_i \rvert, \qquad "
        r"c = \operatorname{argmin}_{\theta, c} \max_\delta \mathcal{L} + \lambda \|c\|_1"
    ),
}

_DROP = r"d = d_{\text{end}} + \frac{1}{2} (d_{\text{start}} - d_{\text{end}}) \left(1 + \cos \frac{\pi t}{T}\right)"

SPARSE = {
    "dense": r"m = 1",
    "fixed": r"m = m_{\text{given}}",
    "flying-bird": (
        r"\text{drop } \lceil d\, n \rceil \text{ of least } \lvert w \rvert, \quad \text{grow as many of most } "
        r"\lvert \nabla_w \mathcal{L}_{\text{adv}} \rvert, \qquad " + _DROP
    ),
    "flying-bird-plus": (
        r"\text{drop } \lceil p\, d\, n \rceil \text{ more while the gap widens}, \quad "
        r"\text{grow } \lfloor (1 + g)\, G \rfloor \text{ while the loss rises}"
    ),
    "grasp": r"s(w) = w \cdot (H g)",
    "magnitude": r"s(w) = \lvert w \rvert",
    "random": r"m \sim \text{uniform over masks of the given density}",
    "rigl": (
        r"\text{drop least } \lvert w \rvert, \quad "
        r"\text{grow most } \lvert \nabla_w \mathcal{L}_{\text{clean}} \rvert, \qquad " + _DROP
    ),
    "robust-bird": (
        r"m_t = \left[\lvert w_t \rvert \ge \text{quantile}\right], \qquad \text{stop when } "
        r"\max_{j < \text{patience}} \frac{1}{n}\, \|m_t - m_{t-j}\|_1 \le \text{tolerance}"
    ),
    "snip": r"s(w) = \lvert w\, \nabla_w \mathcal{L} \rvert",
    "synflow": (
        r"s(w) = \lvert w \rvert\, \frac{\partial R}{\partial \lvert w \rvert}, \qquad "
        r"R = \mathbf{1}^\top \lvert W_L \rvert \cdots \lvert W_1 \rvert \mathbf{1}"
    ),
    "taylor": r"s(w) = \sum_{t} \lvert w\, \nabla_w \mathcal{L}_t \rvert",
}
