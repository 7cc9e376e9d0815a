//! What a list allows, and what is no list.

use proptest::prelude::*;

use super::*;

fn list(text: &str) -> EgressList {
    EgressList::parse(text).expect("a list")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn names_are_listed_alone_or_with_all_below_them() {
    let check = |text: &str, name: &str, port: u16, expected: bool| {
        assert_eq!(
            list(text).allows_name(name, port),
            expected,
            "{text}: {name}:{port}"
        );
    };
    check("example.com", "example.com", 443, true);
    check("example.com", "example.com", 80, true);
    check("example.com", "example.com", 8080, false);
    check("example.com", "EXAMPLE.com.", 443, true);
    check("Example.Com:8443", "example.com", 8443, true);
    check("example.com", "www.example.com", 443, false);
    check("*.example.com", "www.example.com", 443, true);
    check("*.example.com", "a.b.example.com", 443, true);
    check("*.example.com", "example.com", 443, false);
    check("*.example.com", "wwwexample.com", 443, false);
    check("*.example.com", "example.com.evil.net", 443, false);
    check("10.0.0.0/8", "example.com", 443, false);
    check("*", "example.com", 443, true);
    check("*", "not a name", 443, false);
    check("*", "127.1", 443, false);
    check("a.example:1,b.example:2", "a.example", 2, false);
    check("a.example:1, b.example:2", "b.example", 2, true);
}

#[test]
fn addresses_are_listed_alone_or_by_their_network() {
    let check = |text: &str, at: &str, port: u16, expected: bool| {
        assert_eq!(
            list(text).allows_address(address(at), port),
            expected,
            "{text}: {at}:{port}"
        );
    };
    check("10.0.0.0/8:5432", "10.1.2.3", 5432, true);
    check("10.0.0.0/8:5432", "::ffff:10.1.2.3", 5432, true);
    check("10.0.0.0/8:5432", "11.1.2.3", 5432, false);
    check("10.0.0.0/8:5432", "10.1.2.3", 443, false);
    check("10.0.0.1", "10.0.0.1", 443, true);
    check("[2001:db8::1]:443", "2001:db8::1", 443, true);
    check("2001:db8::1", "2001:db8::1", 80, true);
    check("[2001:db8::1]", "2001:db8::1", 80, true);
    check("[2001:db8::/32]:8443", "2001:db8:9::1", 8443, true);
    check("localhost:8080", "127.0.0.1", 8080, true);
    check("localhost:8080", "::1", 8080, true);
    check("localhost:8080", "127.0.0.2", 8080, false);
    check("*", "1.1.1.1", 443, true);
    check("*", "10.0.0.1", 443, false);
    check("example.com", "1.1.1.1", 443, false);
    // Half of all addresses: its public ones.
    check("0.0.0.0/1", "1.1.1.1", 443, true);
    check("0.0.0.0/1", "127.0.0.1", 443, false);
    check("128.0.0.0/1", "169.254.169.254", 80, false);
    check("169.254.169.254:80", "169.254.169.254", 80, true);
}

#[test]
fn a_name_leads_to_the_internet_or_to_what_is_listed_too() {
    let check = |text: &str, at: &str, expected: bool| {
        assert_eq!(
            list(text).allows_address_of_name(address(at), 443),
            expected,
            "{text}: {at}"
        );
    };
    check("db.internal", "10.0.0.1", false);
    check("db.internal", "127.0.0.1", false);
    check("db.internal", "169.254.169.254", false);
    check("db.internal", "1.1.1.1", true);
    check("db.internal,10.0.0.0/8", "10.0.0.1", true);
    check("db.internal,10.0.0.0/8:5432", "10.0.0.1", false);
}

#[test]
fn an_address_of_the_host_itself_is_listed_by_itself() {
    assert!(!list("*").allows_own(address("1.1.1.1"), 443));
    assert!(!list("10.0.0.0/8").allows_own(address("10.0.0.1"), 443));
    assert!(list("10.0.0.1").allows_own(address("10.0.0.1"), 443));
    assert!(list("127.0.0.0/8").allows_own(address("127.0.0.1"), 443));
    assert!(!list("127.0.0.0/8").allows_own(address("127.0.0.1"), 9400));
}

#[test]
fn what_is_no_list_is_refused_with_its_reason() {
    let check = |text: &str, expected: &str| {
        let why = EgressList::parse(text).expect_err("refused");
        assert!(why.contains(expected), "{text}: {why}");
    };
    check("", "`` is none of");
    check("a.example,,b.example", "`` is none of");
    check("a.example:0", "has no port from 1");
    check("a.example:65536", "has no port from 1");
    check("a.example:http", "has no port from 1");
    check("[::1:80", "has a bracket");
    check("https://example.com", "has no port from 1");
    check("example.com/path", "is none of");
    check("*example.com", "is none of");
    check("a.*.example.com", "is none of");
    check("127.1", "is none of");
    check("1.2.3.400", "is none of");
    check("10.0.0.0/33", "is none of");
    check("exa mple.com", "is none of");
    check("0.0.0.0/0:443", "write `*`");
    check("::/0", "write `*`");
    let long = vec!["a.example"; ENTRIES_MAX + 1].join(",");
    check(&long, "more than 64 entries");
    let ports: Vec<String> = (1..=17).map(|port| format!("a.example:{port}")).collect();
    check(&ports.join(","), "more than 16 ports");
}

proptest! {
    /// Whatever somebody writes is a list or a reason, and no list but one of addresses opens what is not the internet's.
    #[test]
    fn a_list_of_names_never_opens_a_special_address(
        text in "[a-z*.:,0-9-]{0,40}",
        bytes in any::<[u8; 4]>(),
        port in any::<u16>(),
    ) {
        let address = IpAddr::from(bytes);
        if let Ok(list) = EgressList::parse(&text) {
            let has_addresses = list.0.iter().any(|entry| matches!(entry.place, Place::Net(_)));
            prop_assert!(list.ports().len() <= EgressList::PORTS_MAX);
            if !has_addresses && !address::is_public(address) {
                prop_assert!(!list.allows_address(address, port));
                prop_assert!(!list.allows_address_of_name(address, port));
            }
        }
    }

    /// A network opens exactly its own addresses, on its port alone.
    #[test]
    fn a_network_opens_what_is_in_it(net in any::<[u8; 4]>(), length in 8_u8..=32, at in any::<[u8; 4]>()) {
        let (net, at) = (IpAddr::from(net), IpAddr::from(at));
        let list = list(&format!("{net}/{length}:7"));
        let net = IpNet::new(net, length).expect("a length").trunc();
        let expected = net.contains(&at) && (address::is_special(&net) || address::is_public(at));
        prop_assert_eq!(list.allows_address(at, 7), expected);
        prop_assert!(!list.allows_address(at, 8));
    }
}
