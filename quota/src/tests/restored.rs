//! A run that is settled and restored at any point equals one that is not.

use proptest::prelude::*;

use super::script::{carry_out, packages, runs, tariffs};
use super::world::{APRIL, World, reference_of};
use crate::account::Account;
use crate::account_codec::{BadAccount, decode, encode};
use crate::bucket::Bucket;

/// An account that is stored with figures that no bucket can have is damaged, whatever they are.
#[test]
fn figures_that_no_bucket_has_are_refused() {
    let reference = reference_of(packages(), tariffs());
    let mut world = World::with_tariffs(packages(), tariffs());
    world.buy("b", "rolling", APRIL);
    let (name, bytes) = {
        let (name, bytes) = world.quota.all().next().unwrap();
        (name.to_owned(), bytes.into_owned())
    };
    let mut account = Account::default();
    decode(&name, &bytes, &reference, &mut account).unwrap();
    let stored = |change: &dyn Fn(&mut Bucket)| {
        let mut changed = account.clone();
        change(&mut changed.buckets[0]);
        let mut bytes = Vec::new();
        encode(&changed, &reference, &mut bytes);
        decode(&name, &bytes, &reference, &mut Account::default())
    };
    assert_eq!(stored(&|bucket| bucket.used = bucket.allowance), Ok(()));
    let changes: [fn(&mut Bucket); 10] = [
        |bucket| bucket.used = bucket.allowance + 1,
        |bucket| bucket.used = -1,
        |bucket| (bucket.used, bucket.allowance) = (-(1 << 120), 1 << 120),
        |bucket| bucket.used_rolled = 1,
        |bucket| (bucket.used, bucket.base_used) = (1, 2),
        |bucket| bucket.base_allocated_pico = bucket.price_pico + 1,
        |bucket| bucket.base_allocated_pico = -1,
        |bucket| (bucket.price_pico, bucket.allowance) = (1 << 90, 1 << 40),
        |bucket| bucket.valid_to_ms = bucket.valid_from_ms - 1,
        |bucket| bucket.rolled_to_ms = Some(bucket.valid_to_ms - 1),
    ];
    for (number, change) in changes.iter().enumerate() {
        assert_eq!(stored(change), Err(BadAccount::Unreadable), "change {number}");
    }
}

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
        let mut world = World::new(packages());
        if world.quota.restore("A1", &bytes).is_err() {
            prop_assert!(world.quota.is_empty());
        }
    }

    #[test]
    fn cut_bytes_are_refused(steps in runs(60), cut in 1_usize..40) {
        let (world, _) = carry_out(&steps, &|_| false);
        for (account, bytes) in world.quota.all() {
            let mut other = World::with_tariffs(packages(), tariffs());
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
