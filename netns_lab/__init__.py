"""A lab of Linux network namespaces: clients, a switch and real servers on one machine."""
