//! What a function may reach by name or address, and on which ports: its variable `SQUALL_EGRESS`.
//!
//! `Network` reads it once for a revision; whoever connects for the function asks it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::address;

/// The most entries of one list.
const ENTRIES_MAX: usize = 64;
/// The ports of an entry that names none.
const WEB: [u16; 2] = [80, 443];
/// The longest name that DNS can carry, and the longest part of one.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// What may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressList(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    place: Place,
    ports: Vec<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The internet.
    Everywhere,
    Name(String),
    /// All names that end so, the dot included.
    Below(String),
    Net(IpNet),
}

impl Default for EgressList {
    /// The web: every public address, on ports 80 and 443.
    fn default() -> Self {
        Self(vec![Entry {
            place: Place::Everywhere,
            ports: WEB.to_vec(),
        }])
    }
}

impl EgressList {
    /// The most ports of one list: a process has a listener for each.
    pub const PORTS_MAX: usize = 16;

    /// Reads `example.com:443,*.example.org,10.0.0.0/8:5432,[2001:db8::1]:443`.
    ///
    /// # Errors
    /// In words for the function's owner.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut entries = Vec::new();
        for word in text.split(',').map(str::trim) {
            let (place, port) = split(word)?;
            let ports = port.map_or_else(|| WEB.to_vec(), |port| vec![port]);
            entries.extend(places(place, word)?.into_iter().map(|place| Entry {
                place,
                ports: ports.clone(),
            }));
        }
        let list = Self(entries);
        if list.0.len() > ENTRIES_MAX {
            return Err(format!("there are more than {ENTRIES_MAX} entries"));
        }
        if list.ports().len() > Self::PORTS_MAX {
            return Err(format!("there are more than {} ports", Self::PORTS_MAX));
        }
        Ok(list)
    }

    /// All ports on which anything may be reached, at most 16.
    pub fn ports(&self) -> BTreeSet<u16> {
        self.0.iter().flat_map(|entry| &entry.ports).copied().collect()
    }

    /// Whether a name is listed, with any port.
    pub fn has_name(&self, name: &str) -> bool {
        let name = canonical(name);
        is_name(&name) && self.0.iter().any(|entry| entry.place.has_name(&name))
    }

    /// Whether a name is listed with this port. What it leads to is another question.
    pub(super) fn allows_name(&self, name: &str, port: u16) -> bool {
        let name = canonical(name);
        is_name(&name) && self.on(port).any(|place| place.has_name(&name))
    }

    /// Whether an address may be reached as such.
    pub(super) fn allows_address(&self, address: IpAddr, port: u16) -> bool {
        self.opens(address, port)
            || address::is_public(address) && self.on(port).any(|place| *place == Place::Everywhere)
    }

    /// Whether an address may be reached where a listed name led to it: that of the internet, or one that is listed too.
    pub(super) fn allows_address_of_name(&self, address: IpAddr, port: u16) -> bool {
        self.opens(address, port) || address::is_public(address)
    }

    /// Whether an address may be reached though it is this host's own.
    pub(super) fn allows_own(&self, address: IpAddr, port: u16) -> bool {
        let address = address::plain(address);
        let is_alone = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
        self.on(port).any(|place| match place {
            Place::Net(net) => net.contains(&address) && (is_alone(net) || address.is_loopback()),
            _ => false,
        })
    }

    /// By an entry of addresses. One that mixes the internet's with others means the internet's.
    fn opens(&self, address: IpAddr, port: u16) -> bool {
        let address = address::plain(address);
        self.on(port).any(|place| match place {
            Place::Net(net) => {
                net.contains(&address) && (address::is_public(address) || address::is_special(net))
            }
            _ => false,
        })
    }

    fn on(&self, port: u16) -> impl Iterator<Item = &Place> {
        let entries = self.0.iter().filter(move |entry| entry.ports.contains(&port));
        entries.map(|entry| &entry.place)
    }
}

impl Place {
    fn has_name(&self, name: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Name(listed) => listed == name,
            Self::Below(end) => name.len() > end.len() && name.ends_with(end.as_str()),
            Self::Net(_) => false,
        }
    }
}

/// Lower case, without the dot at the end.
fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// What stands for a host, and the port where one is given.
fn split(word: &str) -> Result<(&str, Option<u16>), String> {
    let is_address = word.parse::<IpAddr>().is_ok() || word.parse::<IpNet>().is_ok();
    let (place, port) = match word.rsplit_once(':') {
        Some((place, port)) if !is_address && !word.ends_with(']') => (place, Some(port)),
        _ => (word, None),
    };
    let place = match place.strip_prefix('[') {
        Some(inner) => inner
            .strip_suffix(']')
            .ok_or_else(|| format!("`{word}` has a bracket that does not end before its port"))?,
        None => place,
    };
    let Some(port) = port else {
        return Ok((place, None));
    };
    match port.parse() {
        Ok(port) if port != 0 => Ok((place, Some(port))),
        _ => Err(format!("`{word}` has no port from 1 to 65535 after its colon")),
    }
}

fn places(place: &str, word: &str) -> Result<Vec<Place>, String> {
    if place == "*" {
        return Ok(vec![Place::Everywhere]);
    }
    let net = place.parse().map(alone).ok();
    if let Some(net) = net.or_else(|| place.parse::<IpNet>().ok()) {
        if net.prefix_len() == 0 {
            return Err(format!(
                "`{word}` is every address there is: write `*` for the internet"
            ));
        }
        return Ok(vec![Place::Net(net.trunc())]);
    }
    let name = canonical(place);
    if is_local(&name) {
        let both = super::LOCALHOST.map(alone);
        return Ok(both.map(Place::Net).into());
    }
    let (end, is_wildcard) = match name.strip_prefix("*.") {
        Some(end) => (end, true),
        None => (name.as_str(), false),
    };
    if !is_name(end) {
        return Err(format!(
            "`{word}` is none of NAME, *.NAME, ADDRESS, ADDRESS/BITS or *, each with :PORT or without"
        ));
    }
    Ok(vec![if is_wildcard {
        Place::Below(format!(".{end}"))
    } else {
        Place::Name(name)
    }])
}

/// `localhost` and what is below it never leave the host: <https://www.rfc-editor.org/rfc/rfc6761#section-6.3>.
pub(super) fn is_local(name: &str) -> bool {
    let name = canonical(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// A name of DNS. One that ends in a number is an address badly written, which resolvers still take for one.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(allowed)
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label) && !is_number
}

fn alone(address: IpAddr) -> IpNet {
    IpNet::from(address::plain(address))
}

#[cfg(test)]
mod tests;
