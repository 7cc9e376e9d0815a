//! Addresses that stand for names, within one function's network: of 198.18.0.0/15, which nothing real has.
//!
//! An address stands for its name as long as the network lives, since nobody knows who has kept it.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The first address of the block, which RFC 2544 sets aside for measurements; it stands for no name.
const BASE: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// Names of one network; there is no address for further ones.
const NAMES_MAX: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Names(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// In the order of their addresses.
    all: Vec<Arc<str>>,
    places: HashMap<Arc<str>, usize>,
}

impl Names {
    /// The address that stands for a name; `None` where there are too many names.
    pub(super) fn address_of(&self, name: &str) -> Option<Ipv4Addr> {
        let mut known = self.known();
        let place = match known.places.get(name) {
            Some(place) => *place,
            None if known.all.len() == NAMES_MAX => return None,
            None => {
                let (place, name) = (known.all.len(), Arc::<str>::from(name));
                known.all.push(Arc::clone(&name));
                known.places.insert(name, place);
                place
            }
        };
        let offset = u32::try_from(place + 1).expect("there are fewer names than that");
        Some(Ipv4Addr::from_bits(BASE + offset))
    }

    /// The name that an address stands for.
    pub(super) fn name_of(&self, address: Ipv4Addr) -> Option<Arc<str>> {
        let place = address.to_bits().checked_sub(BASE + 1)?;
        self.known().all.get(usize::try_from(place).ok()?).cloned()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A name is in the list before it has a place, which is harmless.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    //! Names and the addresses that stand for them.

    use super::*;

    #[test]
    fn an_address_stands_for_its_name_alone() {
        let names = Names::default();
        let first = names.address_of("a.example").expect("an address");
        let second = names.address_of("b.example").expect("an address");
        assert_eq!(first, Ipv4Addr::new(198, 18, 0, 1));
        assert_ne!(first, second);
        assert_eq!(names.address_of("a.example"), Some(first));
        assert_eq!(names.name_of(first).as_deref(), Some("a.example"));
        assert_eq!(names.name_of(second).as_deref(), Some("b.example"));
    }

    #[test]
    fn no_other_address_stands_for_anything() {
        let names = Names::default();
        names.address_of("a.example");
        for address in [
            [198, 18, 0, 0],
            [198, 18, 0, 2],
            [0, 0, 0, 0],
            [127, 0, 0, 1],
            [255; 4],
        ] {
            assert_eq!(names.name_of(address.into()), None, "{address:?}");
        }
    }

    #[test]
    fn there_is_a_last_name_and_it_is_in_the_block() {
        let names = Names::default();
        let addresses: Vec<_> = (0..=NAMES_MAX)
            .map(|number| names.address_of(&format!("{number}.example")))
            .collect();
        assert!(addresses[..NAMES_MAX].iter().all(Option::is_some));
        assert_eq!(addresses[NAMES_MAX], None);
        let last = addresses[NAMES_MAX - 1].expect("an address");
        assert!([18, 19].contains(&last.octets()[1]), "{last}");
        assert_eq!(names.address_of("0.example"), addresses[0]);
    }
}
