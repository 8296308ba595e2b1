// Command podsecurity reads a JSON list of pod templates ({"name", "metadata", "spec"}) from standard input, and prints a JSON list
// of what the level `restricted` of Pod Security has against each, by the code of Kubernetes' own admission.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

type template struct {
	Name     string            `json:"name"`
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     corev1.PodSpec    `json:"spec"`
}

type finding struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

func main() {
	if err := check(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "podsecurity:", err)
		os.Exit(2)
	}
}

func check(input io.Reader, output io.Writer) error {
	templates, err := read(input)
	if err != nil {
		return err
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	findings := []finding{}
	for _, one := range templates {
		for _, result := range evaluator.EvaluatePod(level, &one.Metadata, &one.Spec) {
			if !result.Allowed {
				findings = append(findings, finding{one.Name, result.ForbiddenReason, result.ForbiddenDetail})
			}
		}
	}
	return json.NewEncoder(output).Encode(findings)
}

func read(input io.Reader) ([]template, error) {
	text, err := io.ReadAll(input)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	// A mistyped field would otherwise be a check that looks at nothing.
	decoder.DisallowUnknownFields()
	var templates []template
	if err := decoder.Decode(&templates); err != nil {
		return nil, fmt.Errorf("expected a list of {name, metadata, spec}: %w", err)
	}
	return templates, nil
}
