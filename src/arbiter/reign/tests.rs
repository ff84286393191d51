use std::time::Duration;

use super::*;
use crate::act::tests::bed::Bed;
use crate::config::Settings;

fn config() -> Config {
    Settings::default().validate().unwrap()
}

#[tokio::test]
async fn a_reign_ends_when_the_wall_clock_is_set() {
    let bed = Bed::with(&["a", "b"]).await;
    let config = config();
    let (mover, _gate, _term) = bed.arbiter(1);
    let metrics = ArbiterMetrics::register(&mut prometheus_client::registry::Registry::default());
    let mut reign = Reign::begin(&config, &bed.client, mover, metrics);
    reign.clock = Clock::set_by(Duration::from_secs(3));
    reign.rule().await;
}
