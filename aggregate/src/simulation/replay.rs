//! A seed that fails says so with the command that runs it again, a panic of the code under test
//! too: the run is over then, and its seed would be lost with it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[expect(clippy::disallowed_methods, reason = "a person says which seeds to run")]
pub(super) fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a whole number"))
}

/// The one seed that a person wants to see again.
pub(super) fn replayed_seed() -> Option<u64> {
    from_environment("TALLY_SEED")
}

/// Runs a seed of a test. What breaks comes with the seed and the command.
pub(super) fn hold<T>(
    test: &str,
    seed: u64,
    run: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    let broken = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(finished)) => return Ok(finished),
        Ok(Err(broken)) => broken,
        // Where, the panic itself has said.
        Err(panic) => format!("a panic: {}", words_of(panic.as_ref())),
    };
    Err(format!("seed {seed}: {broken}\nreplay: {}", command(test, seed)))
}

fn command(test: &str, seed: u64) -> String {
    format!(
        "TALLY_SEED={seed} cargo test -p tally-aggregate -p tally-deps {test} -- --exact --nocapture"
    )
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without words").to_owned()
}

#[test]
fn what_breaks_names_its_seed_and_how_to_see_it_again() {
    let replay = "replay: TALLY_SEED=7 cargo test -p tally-aggregate -p tally-deps x::y -- --exact";
    assert_eq!(hold("x::y", 7, || Ok(3)), Ok(3));
    let broken = hold("x::y", 7, || Err::<(), _>("I2: twice".to_owned())).unwrap_err();
    assert!(broken.starts_with("seed 7: I2: twice\n") && broken.contains(replay), "{broken}");
    let index = 5;
    let panicked = hold("x::y", 7, || Ok([1, 2, 3][std::hint::black_box(index)])).unwrap_err();
    assert!(panicked.starts_with("seed 7: a panic: index out of bounds"), "{panicked}");
    assert!(panicked.contains(replay), "{panicked}");
}
