// A client of EdgeChat's API for iOS 15, macOS 12 and later, with URLSession. It needs no package.

import Foundation

typealias Json = [String: Any]

struct Pair: Codable {
    let access_token: String
    let refresh_token: String
    var device_token: String?
}

// --8<-- [start:errors]
/// An error of the API: `code` is for programs, `detail` for people.
struct ApiError: Error {
    let code: String
    let detail: String
    let context: Json
    let requestId: String
    let retryAfter: Double

    init(_ body: Json, retryAfter: Double = 0) {
        code = body["code"] as? String ?? "unreadable"  // what a proxy answers by itself is not JSON
        detail = body["detail"] as? String ?? "The answer cannot be read"
        context = body["context"] as? Json ?? [:]
        requestId = body["request_id"] as? String ?? ""
        self.retryAfter = retryAfter
    }

    init(_ data: Data, _ response: HTTPURLResponse) {
        let body = (try? JSONSerialization.jsonObject(with: data)) as? Json
        self.init(body ?? [:], retryAfter: Double(response.value(forHTTPHeaderField: "Retry-After") ?? "") ?? 0)
    }
}
// --8<-- [end:errors]

// --8<-- [start:retry]
let attempts = 5
let soon: Set<String> = ["rate_limited", "too_many_replies", "store_unavailable", "shutting_down", "unreadable"]

/// Wait 0.5, 1, 2, 4 s, or as long as the server asks, and a little more so that clients do not come together.
func pause(_ attempt: Int, _ error: Error) async throws {
    let asked = (error as? ApiError)?.retryAfter ?? 0
    let seconds = max(asked, 0.5 * pow(2, Double(attempt))) * Double.random(in: 1...1.25)
    try await Task.sleep(nanoseconds: UInt64(seconds * 1_000_000_000))
}

/// Whether a fault passes by itself. A URLError is a lost network; a cancelled task stays cancelled.
func passes(_ error: Error) -> Bool {
    if let error = error as? ApiError { return soon.contains(error.code) }
    return (error as? URLError).map { $0.code != .cancelled } ?? false
}

/// The result of a request that may be sent again, after faults that pass by themselves.
func repeated<T>(_ send: () async throws -> T) async throws -> T {
    for attempt in 0..<(attempts - 1) {
        do { return try await send() } catch {
            guard passes(error) else { throw error }
            try await pause(attempt, error)
        }
    }
    return try await send()
}
// --8<-- [end:retry]

// --8<-- [start:events]
struct Event {
    let name: String
    let id: String?
    let data: Json
}

/// The events of a stream. `bytes.lines` cannot be used: it drops empty lines, and cuts at U+2028.
func readEvents(_ bytes: URLSession.AsyncBytes, handle: (Event) throws -> Void) async throws {
    var line = Data()
    var fields: [String: String] = [:]
    for try await byte in bytes {
        guard byte == UInt8(ascii: "\n") else {
            line.append(byte)
            continue
        }
        let text = String(decoding: line, as: UTF8.self)
        line.removeAll(keepingCapacity: true)
        if let separator = text.range(of: ": "), separator.lowerBound != text.startIndex {
            fields[String(text[..<separator.lowerBound])] = String(text[separator.upperBound...])
        } else if text.isEmpty, let data = fields["data"] {
            let json = try JSONSerialization.jsonObject(with: Data(data.utf8)) as? Json
            try handle(Event(name: fields["event"] ?? "", id: fields["id"], data: json ?? [:]))
            fields = [:]
        }
    }
}
// --8<-- [end:events]

// --8<-- [start:reply]
/// A reply as far as it was received. `message` is the model's message, final when `ended`.
struct Reply {
    var text = ""
    var message: Json?
    var lastId = ""
    var ended = false

    /// Throws an ApiError if the reply failed without a text, or can no longer be read.
    mutating func apply(_ event: Event) throws {
        lastId = event.id ?? lastId
        switch event.name {
        case "message": message = event.data["model_message"] as? Json
        case "delta": text += event.data["text"] as? String ?? ""
        case "restart": text = ""
        case "done":
            message = event.data
            text = event.data["content"] as? String ?? ""
            ended = true
        case "error":
            ended = event.id != nil  // without an id, the stream ends, but the reply continues
            throw ApiError(event.data)
        default: break
        }
    }
}
// --8<-- [end:reply]

// --8<-- [start:store]
/// A device's copy. A real app keeps it in SQLite or SwiftData.
struct Store {
    var since = 0
    var conversations: [String: Json] = [:]
    var messages: [String: [Int: Json]] = [:]
}
// --8<-- [end:store]

actor EdgeChat {
    private let base: URL
    private var pair: Pair
    private let save: (Pair) throws -> Void
    private var refreshing: Task<Pair, Error>?

    // --8<-- [start:login]
    /// `base` ends with `/api/v1/`. `save` stores the pair where it survives the end of the app: in the keychain.
    init(base: URL, pair: Pair, save: @escaping (Pair) throws -> Void) {
        (self.base, self.pair, self.save) = (base, pair, save)
    }

    static func logIn(
        base: URL, email: String, password: String, device: String = "", save: @escaping (Pair) throws -> Void
    ) async throws -> EdgeChat {
        let body = ["email": email, "password": password, "device_name": "An iPhone", "device_token": device]
        let pair = try await repeated { try await post(base.appendingPathComponent("auth/login"), body) }
        try save(pair)
        return EdgeChat(base: base, pair: pair, save: save)
    }

    func logOut() async throws {
        _ = try await call("POST", "auth/logout")
    }
    // --8<-- [end:login]

    private static func post(_ url: URL, _ body: [String: String]) async throws -> Pair {
        var request = URLRequest(url: url)
        request.httpMethod = "POST"
        request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        request.httpBody = try JSONEncoder().encode(body)
        let (data, response) = try await URLSession.shared.data(for: request)
        let http = response as! HTTPURLResponse
        guard 200..<300 ~= http.statusCode else { throw ApiError(data, http) }
        return try JSONDecoder().decode(Pair.self, from: data)
    }

    // --8<-- [start:tokens]
    /// Get the next token pair. Of many requests whose token was refused, one refreshes and the others wait for it.
    private func refresh(_ refused: String) async throws {
        if pair.access_token != refused { return }
        let (url, body) = (base.appendingPathComponent("auth/refresh"), ["refresh_token": pair.refresh_token])
        // If the answer is lost, the same call returns the same pair.
        let task = refreshing ?? Task { try await repeated { try await Self.post(url, body) } }
        refreshing = task
        defer { refreshing = nil }
        var next = try await task.value
        next.device_token = pair.device_token
        if pair.access_token == refused {
            try save(next)  // first: a pair that is lost cannot be made again once it was used
            pair = next
        }
    }
    // --8<-- [end:tokens]

    // --8<-- [start:call]
    /// The answer of a call. A POST is sent again after a fault only if it has a key: the server then knows that it is
    /// the same request.
    func call(
        _ method: String, _ path: String, json: Json? = nil, form: (type: String, body: Data)? = nil, key: String? = nil
    ) async throws -> Json {
        var request = URLRequest(url: URL(string: path, relativeTo: base)!, timeoutInterval: 150)
        request.httpMethod = method
        if let json {
            request.setValue("application/json", forHTTPHeaderField: "Content-Type")
            request.httpBody = try JSONSerialization.data(withJSONObject: json)
        }
        if let form {
            request.setValue(form.type, forHTTPHeaderField: "Content-Type")
            request.httpBody = form.body
        }
        if let key { request.setValue(key, forHTTPHeaderField: "Idempotency-Key") }
        let prepared = request
        let send = { () async throws -> Json in
            let data = try await self.authenticated(prepared) { request in
                let (data, response) = try await URLSession.shared.data(for: request)
                return (data, response as! HTTPURLResponse, data)
            }
            return data.isEmpty ? [:] : try JSONSerialization.jsonObject(with: data) as? Json ?? [:]
        }
        return method == "POST" && key == nil ? try await send() : try await repeated(send)
    }

    /// What `send` gets from a successful response. The request is sent again if its access token has expired.
    private func authenticated<T>(
        _ prepared: URLRequest, _ send: (URLRequest) async throws -> (T, HTTPURLResponse, Data)
    ) async throws -> T {
        var request = prepared
        for again in [false, true] {
            let token = pair.access_token
            request.setValue("Bearer \(token)", forHTTPHeaderField: "Authorization")
            let (answer, response, errorBody) = try await send(request)
            if 200..<300 ~= response.statusCode { return answer }
            let error = ApiError(errorBody, response)
            guard !again, error.code == "token_expired" else { throw error }
            try await refresh(token)
        }
        throw URLError(.userAuthenticationRequired)
    }
    // --8<-- [end:call]

    // --8<-- [start:send]
    /// Send a message and wait for the answer, `{"user_message", "model_message"}`. `key` is a UUID that is stored with
    /// the draft before the first attempt. The same key never sends twice.
    func send(_ conversation: String, _ content: String, key: String, attachments: [String] = []) async throws -> Json {
        let body: Json = ["content": content, "attachment_ids": attachments, "client_message_id": key]
        return try await call("POST", "chat/conversations/\(conversation)/messages", json: body, key: key)
    }
    // --8<-- [end:send]

    // --8<-- [start:stream]
    /// Send a message, and pass the reply to `show` each time it has grown, until it has ended. If the connection is
    /// lost, the stream continues where it was.
    func stream(
        _ conversation: String, _ content: String, key: String, show: @Sendable (Reply) -> Void
    ) async throws {
        let path = "chat/conversations/\(conversation)/messages"
        var reply = Reply()
        var failed = 0
        while !reply.ended {
            var request: URLRequest
            if let id = reply.message?["id"] as? String {
                request = URLRequest(url: URL(string: "\(path)/\(id)/stream", relativeTo: base)!)
                request.setValue(reply.lastId, forHTTPHeaderField: "Last-Event-ID")
            } else {  // the same key: what arrived earlier is not sent twice
                request = URLRequest(url: URL(string: path, relativeTo: base)!)
                request.httpMethod = "POST"
                request.setValue("application/json", forHTTPHeaderField: "Content-Type")
                request.setValue(key, forHTTPHeaderField: "Idempotency-Key")
                let body: Json = ["content": content, "client_message_id": key]
                request.httpBody = try JSONSerialization.data(withJSONObject: body)
            }
            request.setValue("text/event-stream", forHTTPHeaderField: "Accept")
            request.timeoutInterval = 40  // without any byte, not even a ping (one every 15 s): the connection is dead
            do {
                let bytes = try await authenticated(request) { request in
                    let (bytes, response) = try await URLSession.shared.bytes(for: request)
                    let http = response as! HTTPURLResponse
                    var errorBody = Data()
                    if http.statusCode >= 400 { for try await byte in bytes { errorBody.append(byte) } }
                    return (bytes, http, errorBody)
                }
                try await readEvents(bytes) { event in
                    try reply.apply(event)
                    failed = 0
                    show(reply)
                }
                // The server is restarting: another process continues the reply.
                if !reply.ended { throw URLError(.networkConnectionLost) }
            } catch {
                failed += 1
                if reply.ended || failed == attempts || !passes(error) { throw error }
                try await pause(failed - 1, error)
            }
        }
    }

    /// Stop a reply; its text is kept. Closing the stream does not stop it.
    func stop(_ conversation: String, _ message: String) async throws -> Json {
        try await call("POST", "chat/conversations/\(conversation)/messages/\(message)/stop")
    }
    // --8<-- [end:stream]

    // --8<-- [start:sync]
    /// Bring a device's copy up to date. Can be interrupted at any point and called again.
    func sync(_ store: inout Store) async throws {
        var more = true
        while more {
            let page = try await call("GET", "chat/changes?since=\(store.since)")
            for conversation in page["conversations"] as? [Json] ?? [] {
                let id = conversation["id"] as! String
                store.conversations[id] = conversation
                try await syncMessages(id, &store)
            }
            for id in page["deleted"] as? [String] ?? [] {
                store.conversations[id] = nil
                store.messages[id] = nil
            }
            store.since = page["next_since"] as! Int  // last: an interrupted page comes again
            more = page["has_more"] as! Bool
        }
    }

    /// Messages are appended, and only the last exchange is ever answered again: read from there.
    private func syncMessages(_ id: String, _ store: inout Store) async throws {
        var after = max(0, (store.messages[id]?.keys.max() ?? 0) - 2)
        var more = true
        while more {
            let page = try await call("GET", "chat/conversations/\(id)/messages?after=\(after)&limit=100")
            for message in page["messages"] as? [Json] ?? [] {
                after = message["seq"] as! Int
                store.messages[id, default: [:]][after] = message
            }
            more = page["has_more"] as! Bool
        }
    }
    // --8<-- [end:sync]

    // --8<-- [start:upload]
    /// Upload a picture and return its id. It is deleted after 24 hours unless a message uses it.
    func upload(_ name: String, _ picture: Data, key: String) async throws -> String {
        let boundary = UUID().uuidString
        var body = Data("--\(boundary)\r\n".utf8)
        body += Data("Content-Disposition: form-data; name=\"file\"; filename=\"\(name)\"\r\n".utf8)
        body += Data("Content-Type: application/octet-stream\r\n\r\n".utf8) + picture
        body += Data("\r\n--\(boundary)--\r\n".utf8)
        let form = (type: "multipart/form-data; boundary=\(boundary)", body: body)
        return try await call("POST", "chat/attachments", form: form, key: key)["id"] as! String
    }
    // --8<-- [end:upload]
}
