//! Names as numbers, so that records stay small. The numbers depend on the order in which names
//! come: they are compared for equality only, and what goes out is sorted by name.

use std::collections::BTreeMap;

/// Number of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NameId(pub(crate) u32);

/// Every name that was seen.
#[derive(Debug, Clone)]
pub struct Names {
    ids: BTreeMap<String, NameId>,
    texts: Vec<String>,
}

impl Default for Names {
    /// Only the empty name, which is number 0.
    fn default() -> Self {
        let mut names = Self { ids: BTreeMap::new(), texts: Vec::new() };
        names.id("");
        names
    }
}

impl Names {
    /// The number of a name.
    pub fn id(&mut self, name: &str) -> NameId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        // More names than 2^32 do not fit memory.
        let id = NameId(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        self.ids.insert(name.to_owned(), id);
        self.texts.push(name.to_owned());
        id
    }

    /// The name of a number.
    pub fn text(&self, id: NameId) -> &str {
        usize::try_from(id.0).ok().and_then(|at| self.texts.get(at)).map_or("", String::as_str)
    }
}
