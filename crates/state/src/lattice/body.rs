//! The lattice of a key: one of those in this folder, or none yet.

use serde::{Deserialize, Serialize};

use super::{Clock, Counter, Dot, Extreme, Flag, Map, Observed, OrderedSet, Register, Set, Update};

/// What a key holds. The order of the kinds decides between two that came to be apart; a home refuses the second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Nothing, or what was there is deleted.
    #[default]
    Absent,
    /// A value.
    Register(Register),
    /// A sum.
    Counter(Counter),
    /// Elements.
    Set(Set),
    /// Elements by score.
    OrderedSet(OrderedSet),
    /// Fields.
    Map(Map),
    /// The greatest number.
    Max(Extreme),
    /// The least number.
    Min(Extreme),
    /// A bool.
    Flag(Flag),
}

impl Body {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Absent => "nothing",
            Self::Register(_) => "register",
            Self::Counter(_) => "counter",
            Self::Set(_) => "set",
            Self::OrderedSet(_) => "ordered set",
            Self::Map(_) => "map",
            Self::Max(_) => "maximum",
            Self::Min(_) => "minimum",
            Self::Flag(_) => "flag",
        }
    }

    /// Whether a user finds something here.
    pub fn is_present(&self) -> bool {
        match self {
            Self::Absent => false,
            Self::Register(register) => register.value().is_some(),
            _ => true,
        }
    }

    /// The body that the update is for, where there is none yet.
    fn for_update(update: &Update) -> Self {
        match update {
            Update::Put(_) | Update::Delete => Self::Register(Register::default()),
            Update::Add(_) => Self::Counter(Counter::default()),
            Update::SetAdd(_) | Update::SetRemove(_) => Self::Set(Set::default()),
            Update::OrderedAdd(_) | Update::OrderedRemove(_) => Self::OrderedSet(OrderedSet::default()),
            Update::MapPut(_) | Update::MapRemove(_) => Self::Map(Map::default()),
            Update::Max(number) => Self::Max(Extreme::new(*number)),
            Update::Min(number) => Self::Min(Extreme::new(*number)),
            Update::Raise => Self::Flag(Flag(false)),
        }
    }

    /// # Errors
    /// The name of what is here, when the update is for another lattice. Nothing has changed then.
    pub(super) fn apply(
        &mut self,
        update: Update,
        dot: Dot,
        observed: Option<&Observed>,
    ) -> Result<(), &'static str> {
        if matches!(self, Self::Absent) {
            *self = Self::for_update(&update);
        }
        match (&mut *self, update) {
            (Self::Register(register), Update::Put(value)) => register.write(dot, Some(value), observed),
            (Self::Register(register), Update::Delete) => register.write(dot, None, observed),
            (Self::Counter(counter), Update::Add(by)) => counter.add(dot.writer, by),
            (Self::Set(set), Update::SetAdd(elements)) => {
                elements.into_iter().for_each(|element| set.add(dot, element));
            }
            (Self::Set(set), Update::SetRemove(elements)) => {
                elements.iter().for_each(|element| set.remove(element))
            }
            (Self::OrderedSet(set), Update::OrderedAdd(elements)) => {
                elements
                    .into_iter()
                    .for_each(|(score, element)| set.add(dot, score, element));
            }
            (Self::OrderedSet(set), Update::OrderedRemove(elements)) => {
                elements.iter().for_each(|element| set.remove(element));
            }
            (Self::Map(map), Update::MapPut(fields)) => {
                fields
                    .into_iter()
                    .for_each(|(field, value)| map.put(dot, field, value));
            }
            (Self::Map(map), Update::MapRemove(fields)) => fields.iter().for_each(|field| map.remove(field)),
            (Self::Max(max), Update::Max(number)) => max.raise(Extreme::new(number)),
            (Self::Min(min), Update::Min(number)) => min.lower(Extreme::new(number)),
            (Self::Flag(flag), Update::Raise) => flag.0 = true,
            (found, _) => return Err(found.name()),
        }
        Ok(())
    }

    pub(super) fn merge(&mut self, other: &Self, own: &Clock, others: &Clock) {
        match (&*self, other) {
            // A replica that has nothing may have nothing because it has seen more.
            (Self::Absent, other) => *self = other.empty(),
            (here, Self::Absent) => {
                let other = here.empty();
                return self.merge(&other, own, others);
            }
            _ => {}
        }
        match (&mut *self, other) {
            (Self::Register(here), Self::Register(there)) => here.merge(there, own, others),
            (Self::Counter(here), Self::Counter(there)) => here.merge(there),
            (Self::Set(here), Self::Set(there)) => here.merge(there, own, others),
            (Self::OrderedSet(here), Self::OrderedSet(there)) => here.merge(there, own, others),
            (Self::Map(here), Self::Map(there)) => here.merge(there, own, others),
            (Self::Max(here), Self::Max(there)) => here.raise(*there),
            (Self::Min(here), Self::Min(there)) => here.lower(*there),
            (Self::Flag(here), Self::Flag(there)) => here.0 |= there.0,
            (here, there) if here.rank() < there.rank() => *here = there.clone(),
            _ => {}
        }
    }

    /// The same lattice, with nothing in it where it has such a state.
    fn empty(&self) -> Self {
        match self {
            Self::Register(_) => Self::Register(Register::default()),
            Self::Set(_) => Self::Set(Set::default()),
            Self::OrderedSet(_) => Self::OrderedSet(OrderedSet::default()),
            Self::Map(_) => Self::Map(Map::default()),
            other => other.clone(),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Absent => 0,
            Self::Register(_) => 1,
            Self::Counter(_) => 2,
            Self::Set(_) => 3,
            Self::OrderedSet(_) => 4,
            Self::Map(_) => 5,
            Self::Max(_) => 6,
            Self::Min(_) => 7,
            Self::Flag(_) => 8,
        }
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Register(register) => register.bytes(),
            Self::Set(set) => set.bytes(),
            Self::OrderedSet(set) => set.bytes(),
            Self::Map(map) => map.bytes(),
            _ => 16,
        }
    }
}
