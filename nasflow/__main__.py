"""Run ``python -m nasflow <command>``."""

from nasflow.cli import entry

if __name__ == "__main__":
    entry()
