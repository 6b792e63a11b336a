"""`python -m gpufleet.emulator --port 5000`."""

from gpufleet.emulator.server import main

if __name__ == "__main__":
    main()
