"""The command `slt-compress`, `python -m slt_compress` and `torchrun -m slt_compress`."""

from slt_compress.cli import interrupts


def main() -> None:
    """Run the command line; an interrupt is taken care of before anything that takes long is imported."""
    interrupts.install()
    from slt_compress.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
