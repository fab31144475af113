"""``python -m esdctl`` is ``esdctl``."""

from esdctl.cli.app import main

if __name__ == "__main__":
    main()
