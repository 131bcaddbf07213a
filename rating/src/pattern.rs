//! Model patterns: a whole name, or the beginning of one followed by `*`.

/// Which models a price, a weight or a contract is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ModelPattern {
    /// One name.
    Exact(String),
    /// Every name that begins so; `*` alone is every name.
    Prefix(String),
}

impl ModelPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Where it is empty or has a `*` that is not its last character.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (prefix, is_prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        if text.is_empty() || prefix.contains('*') {
            return Err(format!("{text:?} is not a model name, nor the beginning of one and a *"));
        }
        Ok(if is_prefix { Self::Prefix(prefix.into()) } else { Self::Exact(text.into()) })
    }

    /// Whether a model is meant.
    pub fn matches(&self, model: &str) -> bool {
        match self {
            Self::Exact(name) => name == model,
            Self::Prefix(prefix) => model.starts_with(prefix.as_str()),
        }
    }

    /// Whether a model is meant, and not just because all are.
    pub(crate) fn names(&self, model: &str) -> bool {
        self.matches(model) && *self != Self::Prefix(String::new())
    }

    /// Whether there may be a model that both mean.
    pub(crate) fn may_meet(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(name), pattern) | (pattern, Self::Exact(name)) => pattern.matches(name),
            (Self::Prefix(one), Self::Prefix(two)) => {
                one.starts_with(two.as_str()) || two.starts_with(one.as_str())
            }
        }
    }

    /// Whether it matches every name that another one matches.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (pattern, Self::Exact(name)) => pattern.matches(name),
            (Self::Prefix(one), Self::Prefix(two)) => two.starts_with(one.as_str()),
            (Self::Exact(_), Self::Prefix(_)) => false,
        }
    }

    /// The more, the more specific: a whole name before any beginning, a longer beginning before a
    /// shorter one.
    pub(crate) fn rank(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Prefix(prefix) => prefix.len(),
        }
    }
}

impl std::fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}
