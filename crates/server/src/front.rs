//! What every request passes before its handler: the guard, the deadline, a span, the counts.

use std::{sync::Arc, time::Instant};

use ::http::{HeaderValue, Method, StatusCode, header};
use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tonic::Status;
use tracing::Instrument;

use crate::{app::App, call::Call, error::ApiError, grpc, guard::Sender};

/// What a page of an allowed origin may send.
const ALLOWED_METHODS: &str = "GET, POST, PATCH, DELETE";

/// And with which headers.
const ALLOWED_HEADERS: &str = "content-type, last-event-id, trilith-timeout-ms";

/// The outermost layer.
pub(crate) async fn front(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let is_grpc = grpc::is_grpc(request.headers());
    let route = route(&request);
    let span = tracing::debug_span!("request", %route, version = ?request.version());
    let response = async {
        match admit(&app, request, next).await {
            Ok(response) => response,
            Err(error) if is_grpc => grpc::refuse(app.count(error)),
            Err(error) => app.count(error).into_response(),
        }
    };
    let response = response.instrument(span).await;
    let took = begun.elapsed();
    app.metrics
        .answered(&route, &code(&response, is_grpc), took);
    tracing::debug!(%route, status = %response.status(), ?took, "answered");
    response
}

async fn admit(app: &App, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let sender = app.guard.check(request.uri(), request.headers())?;
    let call = Call::new(request.headers(), request.uri().query())?;
    request.extensions_mut().insert(call);
    let Sender::Allowed(origin) = sender else {
        return Ok(next.run(request).await);
    };
    let asks_first = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let response = if asks_first {
        may_send()
    } else {
        next.run(request).await
    };
    Ok(name_origin(response, origin))
}

/// The answer to a browser that asks whether a page may send what it is about to.
fn may_send() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Lets a browser hand the response to the page.
fn name_origin(mut response: Response<Body>, origin: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    response
}

/// One of a fixed set of names, whatever a client asks for.
fn route(request: &Request) -> String {
    let path = request.uri().path();
    if grpc::METHODS.contains(&path) {
        return path.to_owned();
    }
    let Some(matched) = request.extensions().get::<MatchedPath>() else {
        return "other".to_owned();
    };
    let method = match *request.method() {
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    format!("{method} {}", matched.as_str())
}

/// The outcome as far as it is known where the response begins.
fn code(response: &Response, is_grpc: bool) -> String {
    let grpc_status = response.headers().get(Status::GRPC_STATUS);
    match grpc_status.and_then(|value| value.to_str().ok()) {
        Some(code) => code.to_owned(),
        None if is_grpc => "0".to_owned(),
        None => response.status().as_str().to_owned(),
    }
}
