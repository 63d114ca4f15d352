//! HTTP with JSON, for what speaks no gRPC.

mod extract;
mod offsets;
mod position;
mod records_in;
mod records_lines;
mod records_out;
mod status;
mod topics;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{Method, Uri},
    response::Response,
    routing::{MethodRouter, get, post},
};
use http::HeaderMap;

use crate::{
    app::App,
    error::{ApiError, Reason},
    grpc,
};

type Route = (&'static str, MethodRouter<Arc<App>>);

fn routes() -> [Route; 8] {
    [
        ("/v1/topics", get(topics::list).post(topics::create)),
        (
            "/v1/topics/{topic}",
            get(topics::describe)
                .patch(topics::alter)
                .delete(topics::delete),
        ),
        ("/v1/topics/{topic}/records", post(records_in::produce)),
        ("/v1/topics/{topic}/offsets", get(offsets::list)),
        (
            "/v1/topics/{topic}/partitions/{partition}/records",
            get(records_out::consume),
        ),
        ("/healthz", get(status::healthz)),
        ("/readyz", get(status::readyz)),
        ("/metrics", get(status::metrics)),
    ]
}

/// The path of the OpenAPI document, which describes all other routes and itself.
const OPENAPI: &str = "/openapi.json";

/// The routes, and JSON errors for everything else.
pub(crate) fn router() -> Router<Arc<App>> {
    let router = Router::new().route(OPENAPI, get(status::openapi));
    routes()
        .into_iter()
        .fold(router, |router, (path, handlers)| {
            router.route(path, handlers)
        })
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
}

async fn unknown_route(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    if grpc::is_grpc(&headers) {
        let status = tonic::Status::unimplemented(format!("no method at {}", uri.path()));
        return status.into_http::<axum::body::Body>();
    }
    let message = format!("nothing is served at {}; see {OPENAPI}", uri.path());
    extract::refuse(&app, ApiError::new(Reason::UnknownRoute, message))
}

async fn unknown_method(State(app): State<Arc<App>>, method: Method, uri: Uri) -> Response {
    let message = format!("{method} is not served at {}; see {OPENAPI}", uri.path());
    extract::refuse(&app, ApiError::new(Reason::MethodNotAllowed, message))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_openapi_document_names_every_path_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(status::OPENAPI_JSON).unwrap();
        let described: BTreeSet<&str> = document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let served = routes()
            .into_iter()
            .map(|(path, _)| path)
            .chain([OPENAPI])
            .collect();
        assert_eq!(described, served);
    }
}
