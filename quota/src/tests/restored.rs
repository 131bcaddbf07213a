//! A run that is settled and restored at any point equals one that is not.

use proptest::prelude::*;

use super::script::{carry_out, runs};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn restarts_change_nothing(steps in runs(120), every in 1_usize..9) {
        let (_, plain) = carry_out(&steps, &|_| false);
        let (_, restarted) = carry_out(&steps, &|number| number % every == 0);
        prop_assert_eq!(plain, restarted);
    }

    #[test]
    fn any_bytes_are_restored_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut world = super::world::World::new(super::script::packages());
        if world.quota.restore("A1", &bytes).is_err() {
            prop_assert!(world.quota.is_empty());
        }
    }

    #[test]
    fn cut_bytes_are_refused(steps in runs(60), cut in 1_usize..40) {
        let (world, _) = carry_out(&steps, &|_| false);
        for (account, bytes) in world.quota.all() {
            let mut other = super::world::World::with_tariffs(
                super::script::packages(),
                super::script::tariffs(),
            );
            let kept = bytes.len().saturating_sub(cut);
            if kept > 0 {
                prop_assert!(other.quota.restore(account, &bytes[..kept]).is_err());
            }
            other.quota.restore(account, &bytes).unwrap();
            let again: Vec<_> = other.quota.all().map(|(_, b)| b.into_owned()).collect();
            prop_assert_eq!(again, vec![bytes.into_owned()]);
        }
    }
}
