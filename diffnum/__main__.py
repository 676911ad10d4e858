"""``python -m diffnum``: the command line."""

from diffnum.cli import main

if __name__ == "__main__":
    main()
