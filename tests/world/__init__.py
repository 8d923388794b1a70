"""The world that the tests run in: servers, processes, clients, fakes."""
