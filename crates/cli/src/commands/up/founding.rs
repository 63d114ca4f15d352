//! Making the nodes a cluster, once.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use trilith_client::Client;

use super::plan::Plan;
use crate::{commands::cluster, failure::Failure};

/// How long the nodes may take until they have a leader; after that it is told, and they go on.
const READY_WAIT: Duration = Duration::from_secs(60);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What came of it.
#[derive(Debug)]
pub(super) struct Founded {
    pub(super) cluster_id: String,
    /// Whether it was founded just now.
    pub(super) is_new: bool,
}

/// Founds the cluster unless that was done at an earlier start, and waits until it is led.
pub(super) async fn found(plan: &Plan) -> Result<Founded, Failure> {
    let client = Client::connect(plan.endpoints())
        .await?
        .with_timeout(ASK_TIMEOUT);
    let deadline = Instant::now() + READY_WAIT;
    let mut is_new = false;
    loop {
        let answers = client.cluster_status().await;
        let reports: Vec<_> = answers
            .iter()
            .filter_map(|(_, r)| r.as_ref().ok())
            .collect();
        let all = reports.len() == plan.nodes.len();
        let founded = reports.iter().filter(|r| r.cluster_id.is_some()).count();
        if all && founded == 0 {
            cluster::init::found(&client, &answers).await?;
            is_new = true;
        } else if all && founded == reports.len() {
            let led = reports.iter().find(|report| report.controller.is_some());
            if let Some(id) = led.and_then(|report| report.cluster_id.clone()) {
                return Ok(Founded {
                    cluster_id: id,
                    is_new,
                });
            }
        }
        if Instant::now() >= deadline {
            return Err(Failure::Failed(format!(
                "the nodes have no leader after {READY_WAIT:?}; 'trilith cluster status' says more"
            )));
        }
        sleep(LOOK_AGAIN).await;
    }
}
