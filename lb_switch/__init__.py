"""lb-switch: a userspace, packet-level NAT load balancer."""
