"""Other projects' own code against our gateway, in processes of their own: `make test-clients`."""
