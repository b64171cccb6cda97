"""Tells addresses of the public internet from all others. Pure.

`guarded_http` asks it before it connects where somebody else's word sends it. Python's own
``is_global`` is not enough: it calls global what leads back to IPv4 (NAT64, 6to4, Teredo,
IPv4-compatible), site-local addresses and multicast. Source: IANA's special-purpose registries,
Stripe's smokescreen, read November 2026.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_LEADS_ELSEWHERE = tuple(
    ip_network(text)
    for text in (
        "::/96",  # IPv4-compatible
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "fec0::/10",  # site-local
        "192.88.99.0/24",  # 6to4's relays
    )
)


def is_public(text: str) -> bool:
    """Tell whether an address, in the form ``getaddrinfo`` gives, is one of the public internet."""
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in one for one in _LEADS_ELSEWHERE if one.version == address.version)
    )
