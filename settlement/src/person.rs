//! Names of people who do and who approve, as far as four eyes need them.

/// A name that can be told from others; `None` where there is none.
pub fn person_name(text: &str) -> Option<&str> {
    let name = text.trim();
    (!name.is_empty() && !name.chars().any(char::is_control)).then_some(name)
}

/// Whether two names are one person's: case and blanks do not make somebody else of anybody.
pub fn same_person(a: &str, b: &str) -> bool {
    let plain = |name: &str| -> String {
        name.split_whitespace().flat_map(str::chars).flat_map(char::to_lowercase).collect()
    };
    plain(a) == plain(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_blanks_do_not_make_another_person() {
        assert!(same_person("Alice Wu", " alice  wu ") && same_person("王 芳", "王芳"));
        assert!(!same_person("alice", "alicia"));
        assert!(person_name(" \t").is_none() && person_name("a\nb").is_none());
        assert_eq!(person_name(" alice "), Some("alice"));
    }
}
