"""The subcommands that come with the client; others are found through the entry-point group `swinserve.commands`."""
