//! The size of a report. An object of 8 KiB is read and stored by the thousand; what does not fit
//! is left out, the plainest first, and that is said.
//!
//! Who was heard comes on top: whom a report does not name was not heard, so nobody may be left
//! out. They are the leaders and witnesses of the other locations, seldom more than a dozen.

use crate::evidence::{Flow, PathReport, Report};

/// The most that a report may take as JSON, without who was heard.
pub(super) const LARGEST: usize = 8 * 1024;

/// Leaves out plain paths until the report fits; returns how many.
pub(super) fn fit(report: &mut Report) -> usize {
    let paths = std::mem::take(&mut report.paths);
    let heard = std::mem::take(&mut report.heard);
    let mut room = LARGEST.saturating_sub(size(report));
    report.heard = heard;

    let mut ranked: Vec<_> = paths.iter().map(|path| (rank(path), size(path) + 1)).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    // The last rank that fits with all its paths; of the next, as many as fit.
    let kept = ranked.iter().take_while(|(_, bytes)| {
        let fits = *bytes <= room;
        room = room.saturating_sub(*bytes);
        fits
    });
    let (kept, whole) = (kept.count(), paths.len());

    let mut by_rank = paths;
    by_rank.sort_by_key(rank);
    by_rank.truncate(kept);
    by_rank.sort_by(|one, other| key(one).cmp(&key(other)));
    report.paths = by_rank;
    whole - kept
}

/// Returns the size as JSON.
pub(super) fn size(part: &impl serde::Serialize) -> usize {
    serde_json::to_vec(part).map_or(0, |text| text.len())
}

/// What a verdict needs most stands first.
fn rank(path: &PathReport) -> (bool, bool, bool, u8) {
    let lost = path.steady.lost + path.burst.map_or(0, |burst| burst.lost);
    let flow = match path.flow {
        Flow::NewUdp => 0,
        Flow::KeptUdp | Flow::KeptTcp => 1,
        Flow::NewTcp => 2,
        Flow::Ping | Flow::Large | Flow::Control => 3,
    };
    (lost == 0, path.never_worked, path.burst.is_none(), flow)
}

fn key(path: &PathReport) -> impl Ord + '_ {
    (&path.to, path.address, path.flow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{AddressKind, Heard, WindowReport};
    use crate::sidecar::tests::report;

    fn path(to: usize, flow: Flow, lost: u32) -> PathReport {
        let steady = WindowReport {
            sent: 10,
            lost,
            oldest_ms: 59_000,
            newest_ms: 900,
            last_lost_ms: (lost > 0).then_some(30_000),
            round_trip_us: Some(41_000),
        };
        PathReport {
            to: format!("some-node-with-a-long-name-{to:04}").as_str().into(),
            address: AddressKind::Pod,
            flow,
            burst: None,
            steady,
            background_permille: 3,
            never_worked: false,
        }
    }

    #[test]
    fn what_fits_stays_whole() {
        let mut report = report();
        report.paths = (0..20).map(|to| path(to, Flow::NewUdp, 0)).collect();
        let before = report.clone();
        assert_eq!(fit(&mut report), 0);
        assert_eq!(report, before);
    }

    #[test]
    fn plain_paths_go_first_and_the_unwell_stay() {
        let mut report = report();
        report.paths = (0..300)
            .map(|to| match to {
                295.. => path(to, Flow::NewTcp, 4),
                index if index % 2 == 0 => path(to, Flow::Ping, 0),
                _ => path(to, Flow::NewUdp, 0),
            })
            .collect();
        let left_out = fit(&mut report);
        assert!(size(&report) <= LARGEST, "{}", size(&report));
        assert!(size(&report) > LARGEST - 300, "no more than needed: {}", size(&report));
        assert_eq!(left_out + report.paths.len(), 300);
        let lost = report.paths.iter().filter(|path| path.steady.lost > 0).count();
        assert_eq!(lost, 5);
        assert!(report.paths.iter().all(|path| path.flow != Flow::Ping));
    }

    #[test]
    fn however_many_were_heard_no_path_goes_for_it() {
        let mut report = report();
        report.paths = (0..20).map(|to| path(to, Flow::NewUdp, 1)).collect();
        let one = Heard {
            from: "some-node-with-a-long-name".into(),
            flow: Flow::NewUdp,
            received: 6,
            span_ms: 10_000,
            newest_ms: 30,
        };
        report.heard = vec![one; 200];
        let before = report.clone();
        assert_eq!(fit(&mut report), 0);
        assert_eq!(report, before);
    }
}
