"""`python -m mvc` is the `mvc` command."""

from mvc.cli import main

if __name__ == "__main__":
    main()
