//! What is asked about the server itself.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;

use super::extract;
use crate::{app::App, error::ApiError, metrics};

/// The description of every route, OpenAPI 3.1.
pub(super) const OPENAPI_JSON: &str = include_str!("openapi.json");

/// The process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The server takes requests, and its node is in touch with enough of the others to serve them.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Response {
    if app.shutdown.is_leaving() {
        return extract::refuse(&app, ApiError::shutting_down());
    }
    match app.engine.ready() {
        Ok(()) => "ok\n".into_response(),
        Err(error) => extract::refuse(&app, error),
    }
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let content_type = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (content_type, metrics::render(&app)).into_response()
}

pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI_JSON).into_response()
}
