"""Runs `faulty_service` as `serve` runs the service: `python -m tests.support.faulty_process`."""

from service.importing import import_to_stay

if __name__ == "__main__":
    import_to_stay("tests.support.faulty_service").main()
