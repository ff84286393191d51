//! The timeline as a picture: for each fault the share of fresh flows that were answered, with a
//! line at each thing that happened.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::figures::{BIN, Concern, Figures, Mover, Tally};

/// The size of one fault's panel.
const PANEL: (u32, u32) = (960, 260);

/// More panels than this nobody looks at.
const MOST: usize = 12;

/// The picture could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("could not draw {path}: {reason}")]
pub struct Error {
    path: String,
    reason: String,
}

/// Draws the faults, one below the other.
pub fn draw(faults: &[Figures], file: &Path) -> Result<(), Error> {
    let faults = &faults[..faults.len().min(MOST)];
    let height = PANEL.1 * u32::try_from(faults.len().max(1)).unwrap_or(1);
    let root = SVGBackend::new(file, (PANEL.0, height)).into_drawing_area();
    let failed = |reason: String| Error { path: file.display().to_string(), reason };

    root.fill(&WHITE).map_err(|error| failed(error.to_string()))?;
    for (area, fault) in root.split_evenly((faults.len().max(1), 1)).iter().zip(faults) {
        panel(area, fault).map_err(|error| failed(error.to_string()))?;
    }
    root.present().map_err(|error| failed(error.to_string()))
}

type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn panel<'a>(area: &DrawingArea<SVGBackend<'a>, Shift>, fault: &Figures) -> Drawn<'a> {
    let bins = fault.course.values().map(Vec::len).max().unwrap_or(1).max(1);
    let end = seconds(bins);
    let mut chart = ChartBuilder::on(area)
        .caption(title(fault), ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..end, 0.0..105.0)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .y_labels(6)
        .x_desc("seconds since the fault")
        .y_desc("% answered")
        .draw()?;

    let moments = fault.moments;
    for (name, at) in [
        ("verdict", moments.verdict),
        ("written", moments.written),
        ("back", moments.restored),
        ("verified", moments.verified),
    ] {
        let Some(at) = at.map(|at| at.as_secs_f64()) else { continue };
        chart.draw_series(LineSeries::new([(at, 0.0), (at, 100.0)], BLACK.mix(0.4)))?;
        chart.draw_series([Text::new(name, (at, 104.0), ("sans-serif", 11))])?;
    }

    for (concern, name, colour) in [
        (Concern::Elsewhere, "elsewhere", GREEN),
        (Concern::Own, "the leader's own pods", BLUE),
        (Concern::Relayed, "relayed", RED),
    ] {
        let Some(course) = fault.course.get(&concern) else { continue };
        let points = course
            .iter()
            .enumerate()
            .filter_map(|(bin, tally)| answered(tally).map(|share| (seconds(bin), share)));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }

    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .background_style(WHITE.mix(0.8))
        .draw()
}

fn title(fault: &Figures) -> String {
    let by = match fault.by {
        Mover::Nobody => "nobody moves the leader",
        Mover::Hand => "a person moves the leader",
        Mover::Tanist => "Tanist moves the leader",
        Mover::Kilo => "Kilo moves the leader",
    };
    let to = fault.to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();

    format!("{} on {}: {by}{to}", fault.fault, fault.from)
}

fn answered(tally: &Tally) -> Option<f64> {
    let share = |part: usize| part as f64 * 100.0 / tally.opened as f64;
    (tally.opened > 0).then(|| share(tally.opened - tally.lost))
}

fn seconds(bins: usize) -> f64 {
    bins as f64 * BIN.as_secs_f64()
}
