//! Token classes and counted units: what one model call can consume.

use std::fmt;

/// Number of classes, the length of every array of counts.
pub const CLASS_COUNT: usize = 14;

/// The largest count that an event may carry: 2^53, so that every JSON reader can hold it.
pub const COUNT_MAX: u64 = 1 << 53;

/// A class of consumption. Token classes are disjoint; [`TokenClass::Reasoning`] is a part of
/// [`TokenClass::Output`] that is only reported beside it; the last four are counted units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TokenClass {
    /// Prompt tokens that were neither read from nor written to a cache.
    Input,
    /// Prompt tokens read from a cache.
    CachedInput,
    /// Prompt tokens written to a cache that lives five minutes.
    CacheWrite5m,
    /// Prompt tokens written to a cache that lives one hour.
    CacheWrite1h,
    /// Generated text tokens, reasoning included.
    Output,
    /// The part of `Output` that was reasoning.
    Reasoning,
    /// Audio tokens of the prompt.
    AudioInput,
    /// Generated audio tokens.
    AudioOutput,
    /// Image tokens of the prompt.
    ImageInput,
    /// Generated image tokens.
    ImageOutput,
    /// Requests, 1 unless told otherwise.
    Requests,
    /// Images, counted.
    Images,
    /// Seconds of audio or video, counted.
    Seconds,
    /// Characters, counted.
    Characters,
}

impl TokenClass {
    /// Every class in column order.
    pub const ALL: [Self; CLASS_COUNT] = [
        Self::Input,
        Self::CachedInput,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::Output,
        Self::Reasoning,
        Self::AudioInput,
        Self::AudioOutput,
        Self::ImageInput,
        Self::ImageOutput,
        Self::Requests,
        Self::Images,
        Self::Seconds,
        Self::Characters,
    ];

    /// Name in JSON, SQL and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CachedInput => "cached_input",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::AudioInput => "audio_input",
            Self::AudioOutput => "audio_output",
            Self::ImageInput => "image_input",
            Self::ImageOutput => "image_output",
            Self::Requests => "requests",
            Self::Images => "images",
            Self::Seconds => "seconds",
            Self::Characters => "characters",
        }
    }

    /// What the class counts, for SQL comments.
    pub const fn comment(self) -> &'static str {
        match self {
            Self::Input => "Prompt tokens outside any cache",
            Self::CachedInput => "Prompt tokens read from a cache",
            Self::CacheWrite5m => "Prompt tokens written to a 5-minute cache",
            Self::CacheWrite1h => "Prompt tokens written to a 1-hour cache",
            Self::Output => "Generated text tokens, reasoning included",
            Self::Reasoning => {
                "Reasoning tokens; a part of output, reported beside it, never added to a total"
            }
            Self::AudioInput => "Audio tokens of the prompt",
            Self::AudioOutput => "Generated audio tokens",
            Self::ImageInput => "Image tokens of the prompt",
            Self::ImageOutput => "Generated image tokens",
            Self::Requests => "Requests",
            Self::Images => "Images, counted",
            Self::Seconds => "Seconds of audio or video, counted",
            Self::Characters => "Characters, counted",
        }
    }

    /// Position in arrays of counts.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether the class is part of `usage.total`: the disjoint token classes.
    pub const fn in_total(self) -> bool {
        !matches!(
            self,
            Self::Reasoning | Self::Requests | Self::Images | Self::Seconds | Self::Characters
        )
    }

    /// The class of a JSON name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "input" => Self::Input,
            "cached_input" => Self::CachedInput,
            "cache_write_5m" => Self::CacheWrite5m,
            "cache_write_1h" => Self::CacheWrite1h,
            "output" => Self::Output,
            "reasoning" => Self::Reasoning,
            "audio_input" => Self::AudioInput,
            "audio_output" => Self::AudioOutput,
            "image_input" => Self::ImageInput,
            "image_output" => Self::ImageOutput,
            "requests" => Self::Requests,
            "images" => Self::Images,
            "seconds" => Self::Seconds,
            "characters" => Self::Characters,
            _ => return None,
        })
    }
}

impl fmt::Display for TokenClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Counts of one event, one `u64` a class, each at most [`COUNT_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageCounts(pub [u64; CLASS_COUNT]);

impl UsageCounts {
    /// The count of one class.
    pub const fn get(&self, class: TokenClass) -> u64 {
        self.0[class as usize]
    }

    /// Sets the count of one class.
    pub fn set(&mut self, class: TokenClass, count: u64) {
        self.0[class.index()] = count;
    }

    /// Sum of the disjoint token classes (what `usage.total` must equal). Nine counts of at most
    /// 2^53 cannot overflow `u64`.
    pub fn token_total(&self) -> u64 {
        TokenClass::ALL.iter().filter(|c| c.in_total()).map(|c| self.get(*c)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_column_order() {
        for (position, class) in TokenClass::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), position);
            assert_eq!(TokenClass::from_name(class.name()), Some(class));
        }
        assert_eq!(TokenClass::from_name("tokens"), None);
    }

    #[test]
    fn total_leaves_out_reasoning_and_counted_units() {
        let counts = UsageCounts([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]);
        assert_eq!(counts.token_total(), 1 + 2 + 4 + 8 + 16 + 64 + 128 + 256 + 512);
    }
}
