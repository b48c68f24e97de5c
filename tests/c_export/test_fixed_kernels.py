"""Templates in whole numbers take the place of those of `kernels`."""

from slt_compress.c_export import fixed_kernels, kernels


def test_no_template_computes_values_in_floating_point_but_at_the_ends() -> None:
    inner = (fixed_kernels.STORE, fixed_kernels.FINISH, fixed_kernels.LINEAR, fixed_kernels.POOL, fixed_kernels.AFFINE)
    assert not any("float" in text for text in (*inner, fixed_kernels.SUM, fixed_kernels.PREPARE_PIXELS))
    assert "float" in kernels.LINEAR
