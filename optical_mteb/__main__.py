"""`python -m optical_mteb` is the `optical-mteb` command."""

from optical_mteb.cli import main

if __name__ == "__main__":
    main()
