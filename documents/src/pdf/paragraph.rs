//! Texts broken into lines.

use super::font::Font;
use super::length::Milli;

/// Breaks a text into lines that are no wider than asked for, after a space, a separator or a
/// Chinese character, else within a word.
pub(super) fn broken(font: &Font<'_>, size: Milli, width: Milli, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut reached = 0;
    // The last place at which the line may end, and the one before it.
    let (mut break_at, mut earlier) = (None, None);
    for character in text.chars() {
        let advance = font.width_of(character, size);
        // What closes a bracket or a sentence does not begin a line.
        if may_not_begin_a_line(character) && break_at == Some(line.len()) {
            break_at = earlier;
        }
        if reached + advance > width && !line.is_empty() {
            let rest = break_at.map_or_else(String::new, |at| line.split_off(at));
            lines.push(line.trim_end().to_owned());
            line = rest;
            reached = font.width(&line, size);
            (break_at, earlier) = (None, None);
        }
        if character == ' ' && line.is_empty() && !lines.is_empty() {
            continue;
        }
        line.push(character);
        reached += advance;
        if may_end_a_line(character) {
            (earlier, break_at) = (break_at, Some(line.len()));
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// The widest part of a text that is not broken unless it has to be.
pub(super) fn longest_part(font: &Font<'_>, size: Milli, text: &str) -> Milli {
    let (mut longest, mut reached) = (0, 0);
    for character in text.chars() {
        reached += font.width_of(character, size);
        longest = longest.max(reached);
        if may_end_a_line(character) {
            reached = 0;
        }
    }
    longest
}

fn may_end_a_line(character: char) -> bool {
    matches!(character, ' ' | '-' | '/' | '_' | ':' | '@' | ',') || is_chinese(character)
}

fn may_not_begin_a_line(character: char) -> bool {
    matches!(
        character,
        ')' | ']' | ',' | '.' | '）' | '，' | '。' | '、' | '；' | '：' | '》' | '”'
    )
}

/// Ideographs and the signs between them.
fn is_chinese(character: char) -> bool {
    matches!(character, '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}')
}
