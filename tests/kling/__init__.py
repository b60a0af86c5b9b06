"""The provider's package against real servers on loopback."""
