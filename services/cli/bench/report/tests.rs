use super::*;
use crate::cli::bench::record::histogram;

#[test]
fn a_median_is_the_middle_one_or_the_mean_of_the_middle_two() {
    assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
    assert_eq!(median([4.0, 1.0].into_iter()), Some(2.5));
    assert_eq!(median(std::iter::empty()), None);
}

#[test]
fn a_latency_is_shown_as_it_was_up_to_an_hour() {
    let mut times = histogram();
    for micros in [1_500, 1_500, 2_000_000, 3_600_000_000, u64::MAX] {
        times.saturating_record(micros);
    }
    let Latency { p50, max, .. } = Latency::of(&times);
    assert!((p50 - 2_000.0).abs() < 2.0, "{p50}");
    assert!((max - 3_600_000.0).abs() < 3_600.0, "{max}");
    times.clear();
    times.saturating_record(1_500);
    assert_eq!(Latency::of(&times).p99.to_string(), "1.5");
}

#[test]
fn a_ratio_is_of_one_round() {
    let latency = |p50| Latency { p50, p90: 0.0, p99: 4.0, p999: 0.0, max: 0.0 };
    let cluster = OfCluster {
        accepted_per_s: 500.0,
        took_s: 1.0,
        tasks: Totals::default(),
        ack: latency(1.0),
        ends: Some(EndsSeen {
            completed_per_s: 500.0,
            end: latency(9.0),
            push: latency(0.5),
            unloaded_end: Some(latency(3.0)),
        }),
    };
    let store = OfStore { limit_per_s: 1_000.0, create: latency(1.5) };
    let ratios = store.ratios(&cluster).unwrap();
    let found = [ratios.ratio, ratios.latency_ratio_p50, ratios.latency_ratio_p99];
    assert_eq!(found.map(|ratio| ratio.to_string()), ["0.5", "2", "1"]);
    let rounds = [Round { cluster: Some(cluster), limit: Some(store), ratios: Some(ratios) }];
    assert_eq!(medians(&rounds)["ratio"].to_string(), "0.5");
}
