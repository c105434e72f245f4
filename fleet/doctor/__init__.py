"""The examination that `fleet doctor` makes: of this machine, the project, a definition, and the systems it names."""
