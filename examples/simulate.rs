//! Runs scenarios on the virtual clock and prints what came of them.

fn main() {
    let only = std::env::args().nth(1).unwrap_or_default();
    for scenario in tanist::simulate::scenario::all() {
        if !scenario.name.contains(&only) {
            continue;
        }
        let began = std::time::Instant::now();
        let record = scenario.run(1);
        println!(
            "{}: {:?} rounds {} moves {} classes {:?} complaint {:?}",
            scenario.name,
            began.elapsed(),
            record.rounds,
            record.moves.len(),
            record.classes,
            scenario.complaint(&record)
        );
        println!("   {:?}", record.convicted);
        for said in &record.complaints {
            println!("   said {said}");
        }
    }
}
