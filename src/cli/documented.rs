//! That the program takes every command that the pages show.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;

use super::Cli;

/// The README, and every page below these folders.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs"), root.join("helm"), root.join("benches")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// Whole commands, which stand in a block for the shell, and those within a sentence, which may
/// leave out what is clear there.
fn commands(page: &str) -> (Vec<String>, Vec<String>) {
    let (mut whole, mut mentioned) = (Vec::new(), Vec::new());
    let (mut in_shell, mut in_other) = (false, false);
    for line in page.replace("\\\n", " ").lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let opens = !in_shell && !in_other;
            in_shell = opens && ["", "sh", "bash"].contains(&language);
            in_other = opens && !in_shell;
        } else if in_shell {
            // A variable may be set for one command.
            let words = line.trim_start().trim_start_matches("IN=janitor ");
            whole.extend(words.starts_with("tally ").then(|| words.to_owned()));
        } else if !in_other {
            let code = line.split('`').skip(1).step_by(2);
            mentioned.extend(code.filter(|code| code.starts_with("tally ")).map(str::to_owned));
        }
    }
    (whole, mentioned)
}

/// The words that the shell would give to the program. What comes after the command is left out.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in command.chars() {
        match (letter, quote) {
            (_, Some(open)) if letter == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (' ', None) => words.extend(word.take()),
            ('#' | '>' | '<' | '|' | ';' | '&', None) if word.is_none() => break,
            (';', None) => break,
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[test]
fn the_program_takes_what_the_pages_show() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in pages() {
        let (whole, mentioned) = commands(&fs::read_to_string(&path).unwrap());
        seen += whole.len();
        let refused = |command: &String| Cli::try_parse_from(words(command)).err();
        for (command, error) in whole.iter().filter_map(|c| Some((c, refused(c)?))) {
            wrong.push(format!("{}: {command}\n{error}", path.display()));
        }
        // Where one of several is meant, or something is left out, nothing can be said.
        for command in mentioned.iter().filter(|c| !c.contains(['|', '…', '<', '[', '{'])) {
            let Some(error) = refused(command) else { continue };
            if [ErrorKind::UnknownArgument, ErrorKind::InvalidSubcommand].contains(&error.kind()) {
                wrong.push(format!("{}: {command}\n{error}", path.display()));
            }
        }
    }
    assert!(seen > 50, "only {seen} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn commands_are_found_and_cut_into_words() {
    let page =
        "`tally doctor` and\n```sh\ntally sql 'SELECT 1' # so\nls\n```\n```sql\ntally x\n```\n";
    let (whole, mentioned) = commands(page);
    assert_eq!((whole.len(), mentioned), (1, vec!["tally doctor".to_owned()]));
    assert_eq!(words(&whole[0]), ["tally", "sql", "SELECT 1"]);
    assert_eq!(words("tally a --note \"x y\" '' > file"), ["tally", "a", "--note", "x y", ""]);
}
