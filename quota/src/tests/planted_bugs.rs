//! Each known bug that is switched on is caught by a test of this crate.

use std::panic::catch_unwind;

use super::{alerts, caps, overrun, periods, reversals, scenarios};
use crate::Quota;
use crate::planted::Bug;

/// The test that catches a bug.
fn catcher(bug: Bug) -> fn() {
    match bug {
        Bug::BucketEndInclusive => {
            periods::an_event_at_valid_to_is_not_the_buckets_and_a_late_one_before_is
        }
        Bug::CapForgetsLateEvent => {
            caps::a_late_event_counts_in_its_own_slice_for_every_window_that_holds_it
        }
        Bug::AllocationRoundedPerEvent => scenarios::s1_a_package_is_used_up_event_by_event_oddly,
        Bug::ThresholdExceeded => alerts::a_threshold_is_reached_not_exceeded_and_sent_once,
        Bug::AlertIdCounts => {
            alerts::the_identity_is_that_of_the_bucket_period_counter_and_threshold
        }
        Bug::MemberCapIgnored => {
            caps::a_members_cap_ends_in_overrun_of_configuration_even_with_a_tariff
        }
        Bug::RolledPhaseUnlimited => periods::what_rolls_over_is_used_first_and_limited,
        Bug::PointsToAnotherBucket => reversals::points_go_back_to_the_buckets_that_gave_them,
    }
}

#[test]
fn every_bug_is_caught() {
    for bug in Bug::ALL {
        Quota::plant(None);
        assert!(catch_unwind(catcher(bug)).is_ok(), "{bug:?} is caught without being planted");
        Quota::plant(Some(bug));
        let caught = catch_unwind(catcher(bug));
        Quota::plant(None);
        assert!(caught.is_err(), "{bug:?} is not caught");
    }
    // A test that is not about overrun's causes still passes with the last bug gone.
    overrun::pay_as_you_go_is_exact_however_many_events();
}
