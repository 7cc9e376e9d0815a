//! Which addresses are the internet's: all that IANA has not given a purpose of their own.
//!
//! `list` asks for what nobody listed by its address; so does `connect`, of what a name led to.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Loopback, private, link-local (with the metadata services of clouds), shared, multicast, reserved: those of
/// <https://www.iana.org/assignments/iana-ipv4-special-registry> and the multicast ones.
const SPECIAL_V4: [([u8; 4], u8); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];
/// Of IPv6 only 2000::/3 is given out to the internet: <https://www.iana.org/assignments/iana-ipv6-special-registry>.
/// The parts of it that are not: protocols (Teredo among them), documentation, and 6to4, whose addresses hold others.
const GLOBAL_V6: (u16, u8) = (0x2000, 3);
const SPECIAL_V6: [([u16; 2], u8); 4] = [
    ([0x2001, 0], 23),
    ([0x2001, 0xdb8], 32),
    ([0x2002, 0], 16),
    ([0x3fff, 0], 20),
];
/// 64:ff9b::/96 holds an IPv4 address for a translator: <https://www.rfc-editor.org/rfc/rfc6052>.
const TRANSLATED: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Whether an address is one of the internet. What another form of an IPv4 address leads to is looked at as that.
pub(super) fn is_public(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(address) => !special_v4().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            let global = v6([GLOBAL_V6.0, 0], GLOBAL_V6.1);
            global.contains(&address) && !special_v6().any(|net| net.contains(&address))
        }
    }
}

/// Whether a network has no address of the internet.
pub(super) fn is_special(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => special_v4().any(|special| special.contains(net)),
        IpNet::V6(net) => {
            let global = v6([GLOBAL_V6.0, 0], GLOBAL_V6.1);
            let is_outside = !global.contains(net) && !net.contains(&global);
            is_outside || special_v6().any(|special| special.contains(net))
        }
    }
}

/// An IPv4 address as such, however it is written.
pub(super) fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address.to_canonical() else {
        return address.to_canonical();
    };
    let [start @ .., high, low] = six.segments();
    if start != TRANSLATED {
        return address;
    }
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    IpAddr::from([a, b, c, d])
}

/// Whether it is an address of this host: one that a socket can have, or that the kernel would take for its own end of
/// a connection to it. Nothing is sent. Where the host lets sockets have any address (`ip_nonlocal_bind`), only the
/// second counts, and of several addresses in one network it knows the first.
pub(super) fn is_own(address: IpAddr) -> bool {
    let (any, nonlocal): (SocketAddr, _) = match address {
        IpAddr::V4(_) => (([0, 0, 0, 0], 0).into(), "/proc/sys/net/ipv4/ip_nonlocal_bind"),
        IpAddr::V6(_) => (([0_u16; 8], 0).into(), "/proc/sys/net/ipv6/ip_nonlocal_bind"),
    };
    let near = UdpSocket::bind(any).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    let is_near = near.is_ok_and(|near| near.ip() == address);
    is_near || UdpSocket::bind((address, 0)).is_ok() && !is_on(nonlocal)
}

fn is_on(setting: &str) -> bool {
    std::fs::read_to_string(setting).is_ok_and(|text| text.trim() != "0")
}

fn special_v4() -> impl Iterator<Item = Ipv4Net> {
    SPECIAL_V4
        .into_iter()
        .map(|(address, length)| Ipv4Net::new_assert(address.into(), length))
}

fn special_v6() -> impl Iterator<Item = Ipv6Net> {
    SPECIAL_V6.into_iter().map(|(start, length)| v6(start, length))
}

fn v6([first, second]: [u16; 2], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert([first, second, 0, 0, 0, 0, 0, 0].into(), length)
}

#[cfg(test)]
mod tests {
    //! Addresses of both kinds.

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(is_public(address(public)), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
        ] {
            assert!(!is_public(address(special)), "{special}");
        }
    }

    #[test]
    fn a_network_is_special_when_all_of_it_is() {
        let check = |net: &str, expected: bool| {
            assert_eq!(is_special(&net.parse().expect("a network")), expected, "{net}");
        };
        check("10.0.0.0/8", true);
        check("127.0.0.1/32", true);
        check("fd00::/8", true);
        check("::1/128", true);
        check("2001:db8::/48", true);
        check("0.0.0.0/0", false);
        check("8.0.0.0/6", false);
        check("1.1.1.0/24", false);
        check("::/0", false);
        check("2000::/3", false);
        check("2600::/16", false);
    }

    #[test]
    fn the_loopback_is_this_hosts_own() {
        assert!(is_own(address("127.0.0.1")));
        assert!(is_own(address("127.9.9.9")));
        assert!(!is_own(address("203.0.113.1")));
    }
}
