"""``relucheck plot``: what is drawn is right, and what cannot be drawn is said."""

import subprocess
import sys

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("matplotlib")

from relucheck.pictures.curves import CURVES, pieces  # noqa: E402

ALL = [curve for family in CURVES.values() for curve in family]


def relucheck(*args, **options):
    command = [sys.executable, "-m", "relucheck", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize("curve", ALL, ids=lambda curve: curve.name)
def test_values_and_slopes_are_those_of_torch(curve):
    torch = pytest.importorskip("torch")
    module = getattr(torch.nn, curve.name)().double()
    for x in pieces(curve, -8.0, 8.0):
        t = torch.tensor(x, requires_grad=True)
        y = module(t)
        y.sum().backward()
        assert np.allclose(curve.value(x), y.detach().numpy(), rtol=1e-9, atol=1e-12)
        # torch computes hardsigmoid with 1 / 6 in single precision
        assert np.allclose(curve.slope(x), t.grad.numpy(), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("curve", ALL, ids=lambda curve: curve.name)
def test_slopes_jump_at_kinks_and_nowhere_else(curve):
    x = np.linspace(-8.0, 8.0, 160_001)
    jumps = x[1:][np.abs(np.diff(curve.slope(x))) > 1e-2]
    assert all(min(abs(jump - kink) for kink in curve.kinks) < 1e-3 for jump in jumps)
    assert len(jumps) == 0 or len(curve.kinks) > 0


def test_activations_are_drawn(tmp_path):
    done = relucheck("plot", "activations", "--output", "picture.png", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "drew picture.png\n", "")
    from matplotlib.image import imread

    height, width, _ = imread(tmp_path / "picture.png").shape
    assert min(height, width) > 1000


def test_vector_formats_too(tmp_path):
    assert relucheck("plot", "activations", "--output", "picture.svg", cwd=tmp_path).returncode == 0
    assert "<svg" in (tmp_path / "picture.svg").read_text(encoding="utf-8")


def test_an_unknown_format_is_a_usage_error(tmp_path):
    done = relucheck("plot", "activations", "--output", "picture.docx", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: picture.docx: the name must end in one of")


def test_a_folder_that_does_not_exist(tmp_path):
    done = relucheck("plot", "activations", "--output", "nowhere/picture.png", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: nowhere/picture.png: cannot be written (No such file or directory)\n"


def run(script):
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_without_matplotlib_it_says_what_to_install():
    done = run(
        "import sys; sys.modules['matplotlib'] = None; sys.argv = ['relucheck', 'plot', 'activations']\n"
        "from relucheck.cli import main; main()"
    )
    assert done.returncode == 2
    assert done.stderr == 'error: drawing needs matplotlib: pip install "relucheck[report]"\n'


def test_drawing_needs_no_torch(tmp_path):
    done = run(
        "import sys; sys.modules['torch'] = None\n"
        "from relucheck.pictures.activations import figure; figure().savefig('picture.png')".replace(
            "picture.png", str(tmp_path / "picture.png")
        )
    )
    assert (done.returncode, done.stderr) == (0, "")
