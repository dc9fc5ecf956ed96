"""`python -m lb_switch`: the same as the command `lb-switch`."""

from lb_switch.cli.main import main

if __name__ == "__main__":
    main()
