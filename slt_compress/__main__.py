"""`python -m slt_compress` and `torchrun -m slt_compress`."""

from slt_compress.cli.main import main

if __name__ == "__main__":
    main()
