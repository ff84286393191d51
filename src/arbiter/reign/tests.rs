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
    let mut reign = Reign::begin(&config, &bed.client, (mover, None), metrics);
    reign.clock = Clock::set_by(Duration::from_secs(3));
    reign.rule().await;
}

#[test]
fn a_server_that_came_back_long_ago_is_as_any_other() {
    let (config, now) = (config(), Moment::at(Duration::from_secs(1)));
    let ago = Duration::from_secs;
    assert_eq!(known_api(None, now, &config), ApiState::Steady);
    assert_eq!(known_api(Some(ago(9)), now, &config), ApiState::Back { since: now - ago(9) });
    assert_eq!(known_api(Some(ago(3600)), now, &config), ApiState::Steady);
}
