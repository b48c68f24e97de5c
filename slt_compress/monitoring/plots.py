"""Windows as a picture: how far each quantity is from the reference, and the accuracy."""

from collections.abc import Sequence

from slt_compress.monitoring.judge import Window
from slt_compress.plotting.figures import drawable, new_figure, own_settings, to_png

_LOWEST = 0.01  # of a share of the limit, on a logarithmic axis


def windows_png(windows: Sequence[Window], title: str) -> bytes:
    """Return a PNG: above, PSI as multiples of what it may be by chance; below, accuracy and low confidence."""
    names = dict.fromkeys(one.quantity for window in windows for one in window.drifts)
    with own_settings():
        figure = new_figure((9, 7))
        drifts, shares = figure.subplots(2, 1, sharex=True)
        drifts.set_title(drawable(title), parse_math=False)
        for name in names:
            found = [
                (window.first, max(_LOWEST, one.psi / one.psi_limit))
                for window in windows
                for one in window.drifts
                if one.quantity == name
            ]
            drifts.plot(*zip(*found, strict=True), marker=".", label=name)
        drifts.axhline(1, color="black", linestyle="--")
        drifts.set_yscale("log")
        drifts.set_ylabel("PSI / what chance allows")
        if names:
            drifts.legend(fontsize="small", ncols=2)
        for name in ("accuracy", "estimated_accuracy", "calibrated_accuracy", "low_confidence"):
            known = [(window.first, getattr(window, name)) for window in windows if getattr(window, name) is not None]
            if known:
                shares.plot(*zip(*known, strict=True), marker=".", label=name.replace("_", " "))
        alarms = [window.first for window in windows if window.alarms]
        shares.plot(alarms, [0] * len(alarms), "rv", label="alarm")
        shares.set_ylim(-0.05, 1.05)
        shares.set_xlabel("first image of the window")
        shares.legend(fontsize="small")
        for axes in (drifts, shares):
            axes.grid(alpha=0.3)
        return to_png(figure)
